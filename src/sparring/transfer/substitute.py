"""Training of a substitute for a model that returns labels only (Papernot et al. 2017, arXiv:1602.02697, algorithm 1).

From a few images of the attacker's own, labelled by the victim, a net is trained; then

    S' = S  and  { x + lambda * (-1)^(round / tau) * sign( d f_{y(x)} / dx ) : x in S }

where y(x) is the victim's label and f the substitute's logits, and so on: the new images lie where the substitute is
least sure to be like the victim. The sign that turns is from Papernot, McDaniel & Goodfellow (2016, arXiv:1605.07277,
section 5.1); where the budget does not suffice for all new images, a random choice is asked about (reservoir sampling
there).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..access import Decisions
from ..errors import BudgetError, ConfigError, InputError
from ..random import Key
from ..targets import Classifier, Target
from .distill import batch_slices, query_labels, train_student


@dataclass(frozen=True)
class Substitute:
    """The result of `train_substitute`."""

    target: Classifier  # the trained substitute, ready to be attacked
    images: Tensor  # all that the victim was asked about
    labels: Tensor  # its answers
    agreement: float  # share of them that the substitute reproduces

    @property
    def queries(self) -> int:
        """Return how many queries the victim answered."""
        return len(self.images)


def train_substitute(
    victim: Target[Decisions],
    net: nn.Module,
    x: Tensor,
    *,
    budget: int,
    rounds: int = 6,
    lambda_: float = 0.1,
    tau: int = 3,
    epochs: int = 10,
    lr: float = 1e-3,
    batch_size: int = 128,
    seed: int = 0,
    progress: Callable[[int, int, float], None] | None = None,
) -> Substitute:
    """Train `net` to answer as `victim` does; of the victim's outputs only the leading class is read.

    Args:
        victim: a classifier; each image asked about is one query.
        net: from images (B, C, H, W) in [0, 1] to logits of the victim's classes; it is trained in place.
        x: (N, C, H, W) the attacker's own first images (100 to 150 in the paper).
        budget: queries in all.
        rounds: of labelling and training (6 in the paper; the set doubles each time).
        lambda_: step of the augmentation, in pixel units of [0, 1] (0.1 in the paper).
        tau: rounds after which the step changes its sign (3 in the later paper).
        epochs, lr: of Adam, in each round, on all images so far.
        progress: called after every round with the round, the queries spent and the agreement.

    Raises:
        BudgetError: where the first images are more than the budget.
        InputError, ConfigError: before the first query.
    """
    if len(x) == 0 or x.ndim != 4:
        raise InputError(f"a substitute starts from images (N, C, H, W); got shape {tuple(x.shape)}")
    if min(rounds, tau, epochs, batch_size) < 1 or not (lr > 0 and lambda_ > 0):
        counts = f"rounds={rounds}, tau={tau}, epochs={epochs}, batch_size={batch_size}"
        raise ConfigError(f"substitute {counts}, lr={lr}, lambda_={lambda_}; pass counts of at least 1, sizes above 0")
    if len(x) > budget:
        raise BudgetError(f"{len(x)} first images cost {len(x)} queries, and the budget is {budget}; pass fewer")
    device = next((weight.device for weight in net.parameters()), torch.device("cpu"))
    images = x.detach().to(device)
    labels, known = query_labels(victim, images, batch_size), len(images)
    agreement = 0.0
    for number in range(rounds):
        agreement = train_student(net, images, labels, epochs, lr, batch_size, Key(torch.tensor([number]), seed))
        if progress is not None:
            progress(number + 1, known, agreement)
        if number + 1 == rounds or known >= budget:
            break
        way = lambda_ * (-1) ** ((number + 1) // tau)
        fresh = _augmented(net, images, labels, way, batch_size)
        if len(fresh) > budget - known:
            draw = Key(torch.tensor([number]), seed).uniform("reservoir", (len(fresh),))[0].to(device)
            fresh = fresh[draw.argsort()[: budget - known].sort().values]
        images, labels = torch.cat((images, fresh)), torch.cat((labels, query_labels(victim, fresh, batch_size)))
        known = len(images)
    return Substitute(Classifier(net, name=f"substitute of {victim.name}"), images, labels, agreement)


def _augmented(net: nn.Module, images: Tensor, labels: Tensor, way: float, batch_size: int) -> Tensor:
    """Return the Jacobian-based augmentation of every image."""
    target, moved = Classifier(net), []
    with target.frozen():
        for part in batch_slices(len(images), batch_size):
            point = images[part].clone().requires_grad_()
            (slope,) = torch.autograd.grad(target(point).gather(1, labels[part, None]).sum(), point)
            moved.append((images[part] + way * slope.sign()).clamp_(0, 1))
    return torch.cat(moved)
