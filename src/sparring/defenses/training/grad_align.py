"""GradAlign (Andriushchenko & Flammarion 2020, arXiv:2007.02617): gradients that agree within the ball.

    l(x) + lambda * ( 1 - cos( grad_x J(w, x), grad_x J(w, x + eta) ) ),      eta uniform in the ball

It keeps single-step training from overfitting to its step. Both gradients are differentiated in the weights. A row
whose gradient is 0 at either point has no angle and adds nothing, as in the authors' code. Departure: x + eta keeps to
the valid range.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...geometry import rowwise
from ...targets import Classifier
from .adversary import Adversary
from .minibatch import Craft, Minibatch, Net
from .objective import Certifier, Objective, check_field, cross_entropy


@dataclass(frozen=True)
class GradAlign(Objective):
    """Add the alignment of input gradients to another objective, in the ball of the adversary's first attack.

    It costs two forward and two backward passes that are differentiated again.

    Args:
        objective: what it is added to, as `Madry()`.
        lambda_: weight of the alignment; 0.2 for CIFAR-10 at eps 8/255 in the paper, more for larger radii.

    Raises: ConfigError.
    """

    objective: Objective
    lambda_: float = 0.2

    def __post_init__(self) -> None:
        check_field(self, "lambda_", 0 <= self.lambda_ < math.inf, "a number from 0")
        check_field(self, "objective", isinstance(self.objective, Objective), "the objective beneath, as Madry()")

    @property
    def attacks(self) -> tuple[int, int]:
        """Return how many attacks it works with: one at least, for its ball."""
        least, most = self.objective.attacks
        return max(1, least), max(1, most)

    @property
    def runs_attacks(self) -> bool:
        return self.objective.runs_attacks

    @property
    def minibatch_replays(self) -> int:
        return self.objective.minibatch_replays

    @property
    def needs_bounds(self) -> bool:
        return self.objective.needs_bounds

    def certifier(self, target: Classifier, images: Tensor) -> Certifier | None:
        return self.objective.certifier(target, images)

    def check(self, adversary: Adversary) -> None:
        self.objective.check(adversary)

    def check_network(self, network: nn.Module) -> None:
        self.objective.check_network(network)

    def check_images(self, classifier: Classifier, images: Tensor) -> None:
        self.objective.check_images(classifier, images)

    def examples(self, craft: Craft) -> tuple[Tensor, ...]:
        return (*self.objective.examples(craft), craft.random_in_ball())

    def losses(self, net: Net, batch: Minibatch, examples: tuple[Tensor, ...]) -> Tensor:
        here, there = (input_gradient(net, images, batch.labels) for images in (batch.images, examples[-1]))
        return self.objective.losses(net, batch, examples[:-1]) + self.lambda_ * misaligned(here, there)

    def after_update(self, craft: Craft, examples: tuple[Tensor, ...]) -> None:
        self.objective.after_update(craft, examples[:-1])


def input_gradient(net: Net, images: Tensor, labels: Tensor) -> Tensor:
    """Return (B, C, H, W) grad_x of the cross-entropy, differentiable in the weights."""
    images = images.detach().requires_grad_()
    (found,) = torch.autograd.grad(cross_entropy(net(images), labels).sum(), images, create_graph=True)
    return found


def misaligned(here: Tensor, there: Tensor) -> Tensor:
    """Return (B,) 1 - cos of the angle between two gradients; 0 where one of them is 0."""
    peaks = [side.detach().flatten(1).abs().amax(1) for side in (here, there)]
    angled = (peaks[0] > 0) & (peaks[1] > 0)
    sides = [  # of size 1, since small gradients have squares that underflow
        torch.where(rowwise(angled, side), side / rowwise(peak.where(angled, 1), side), 1).flatten(1)
        for side, peak in zip((here, there), peaks, strict=True)
    ]
    cosine = (sides[0] * sides[1]).sum(1) / (sides[0].norm(dim=1) * sides[1].norm(dim=1))
    return torch.where(angled, 1 - cosine, 0)
