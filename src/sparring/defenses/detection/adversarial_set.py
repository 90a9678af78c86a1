"""Adversarial examples to fit and to test detectors on, and clean images with noise as a control."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...access import Attack, Keep
from ...batching import map_batches
from ...engine import Engine, check_images, run
from ...errors import ThreatError
from ...geometry import L0, Ball, rowwise
from ...goals import Misclassify
from ...random import Key
from ...targets import Target

HALVINGS = 30


@dataclass(frozen=True)
class AdversarialSet:
    """The examples that an attack made of N images, on a model without a detector."""

    attack: str  # with its ball: "PGD Linf(0.1)"
    originals: Tensor  # (N, C, H, W)
    examples: Tensor  # (N, C, H, W)
    fooling: Tensor  # (N,) bool: the model is right on the original and wrong on the example
    correct: Tensor  # (N,) bool: the model is right on the original
    ball: Ball

    def __len__(self) -> int:
        return len(self.originals)

    @property
    def fooling_examples(self) -> Tensor:
        """Return the examples (M, C, H, W) that fool the model."""
        return self.examples[self.fooling]

    @property
    def fooled_originals(self) -> Tensor:
        """Return the originals (M, C, H, W) of the examples that fool the model."""
        return self.originals[self.fooling]

    def noisy(self, seed: int = 0) -> Tensor:
        """Return each fooled original with random noise of the norm of its perturbation (`add_sign_noise`)."""
        originals = self.fooled_originals
        return add_sign_noise(originals, self.ball, self.ball.norm(self.fooling_examples - originals), seed)


def make_adversarial_set(
    attack: Attack[Any, Any],
    target: Target[Any],
    images: Tensor,
    labels: Tensor,
    *,
    indices: Tensor | None = None,
    engine: Engine | None = None,
) -> AdversarialSet:
    """Attack the images (N, C, H, W), whose classes are `labels` (N,), and keep every example.

    An attack within a radius spends it: its example of the highest loss is kept, not the first that crosses a boundary,
    which no detector of strong attacks would be tried on. A minimum-norm attack keeps its smallest.
    """
    goal = Misclassify(labels)
    check_images(images, goal)
    keep = attack.keep if attack.keep is Keep.SMALLEST else Keep.HIGHEST_LOSS
    found = run(attack, target, goal, images, indices=indices, keep=keep, engine=engine)
    with target.frozen():
        correct = map_batches(lambda x, y: target(x.to(target.device)).argmax(1).to(y.device) == y, images, labels)
    fooling = correct.to(images.device) & found.success
    name = f"{attack.name} {attack.ball}"
    return AdversarialSet(name, images.detach(), found.examples, fooling, correct.to(images.device), attack.ball)


def add_sign_noise(images: Tensor, ball: Ball, sizes: Tensor, seed: int = 0) -> Tensor:
    """Return the images (N, C, H, W) with random signs added, cut at [0, 1], of norm `sizes` (N,) after the cut.

    Where even the largest noise does not reach the size, it is what comes nearest.

    Raises:
        ThreatError: in L0, where noise of a sign per pixel has one size only.
    """
    if isinstance(ball, L0):
        raise ThreatError("noise of a given size is made in Linf, L2 and L1, not in L0; use another ball's norm")
    key = Key(torch.arange(len(images), device=images.device), seed)
    signs = key.signs("noise", images.shape[1:], dtype=images.dtype)
    low, high = torch.zeros_like(sizes), torch.ones_like(sizes)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        reached = ball.norm((images + rowwise(middle, images) * signs).clamp(0, 1) - images) >= sizes
        low, high = torch.where(reached, low, middle), torch.where(reached, middle, high)
    return (images + rowwise(low, images) * signs).clamp(0, 1)
