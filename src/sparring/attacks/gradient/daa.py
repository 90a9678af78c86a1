"""Distributionally adversarial attack (Zheng, Chen & Ren 2018, arXiv:1808.05537).

PGD on all images of a batch at once, ascending the loss of the batch's distribution, so that each row also depends on
the others, through the kernel K_ij = exp(-|x_i - x_j|^2 / 2h^2) between the current images:

    DAABlob:  grad L(x_i) + weight / n * sum_j ( K_ij grad L(x_j) + grad_{x_i} K_ij )
    DAADGF:   grad L(x_i) + weight * sum_j (1 - |x_i - x_j|^2 / 2h^2) K_ij (x_i - x_j)

takes the place of the gradient in PGD's step; 2h^2 is the median of the squared distances over log(n + 1). The
second is the Lagrangian discrete gradient flow: half the gradient of sum_j |x_i - x_j|^2 K_ij.

The n rows are those of the engine's batch that are still open: a broken row leaves the kernel with the batch (on a GPU,
where the engine looks every eighth step, up to seven steps later). A batch of one row is plain PGD.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...access import BatchCoupled, Gradients, NonNegativeFloat
from ...goals import Climb, ScaledCrossEntropy
from .pgd import PGD, PGDState


@dataclass(frozen=True)
class DAA(PGD, BatchCoupled[Gradients, PGDState]):
    """The common part of both forms: PGD's arguments, `weight` and `loss`."""

    weight: NonNegativeFloat = 0.0
    loss: Climb | None = field(default_factory=ScaledCrossEntropy)

    def step(self, oracle: Gradients, state: PGDState, t: int) -> PGDState:
        region = oracle.region
        grad = region.masked(oracle.gradient(state.x, loss=self.loss).grad)
        direction = grad + self.weight * self.interaction(state.x.flatten(1), grad.flatten(1)).view_as(grad)
        return PGDState(region.ascend_(direction, state.x, self.step_size_at(t, region)))

    @abstractmethod
    def interaction(self, points: Tensor, grads: Tensor) -> Tensor:
        """Return what the other rows add to the gradients, (n, D), from inputs and gradients (n, D)."""


@dataclass(frozen=True)
class DAABlob(DAA):
    """Run the blob form: neighbours share their gradients and attract each other.

    Args:
        ball, steps, step_size, random_start: as in PGD.
        weight: of the other rows, >= 0 (1.1 for the cross-entropy in the authors' code, 10 for the margin).
        loss: the loss to ascend; None: the goal's own. The default is the cross-entropy over the spread of the
            logits, so that its gradient weighs as much beside the other rows whatever the scale of the logits.
    """

    weight: NonNegativeFloat = 1.1

    def interaction(self, points: Tensor, grads: Tensor) -> Tensor:
        ratio, inverse = scaled_distances(points)
        kernel = torch.exp(-ratio)
        return (kernel @ grads - 2 * inverse * weighted_differences(kernel, points)) / len(points)


@dataclass(frozen=True)
class DAADGF(DAA):
    """Run the form by discrete gradient flow: neighbours repel each other.

    Args:
        ball, steps, step_size, random_start: as in PGD.
        weight: of the other rows, >= 0 (0.001 for the cross-entropy in the authors' code, 0.01 for the margin).
        loss: the loss to ascend; None: the goal's own. The default is the cross-entropy over the spread of the
            logits, so that its gradient weighs as much beside the other rows whatever the scale of the logits.
    """

    weight: NonNegativeFloat = 0.001

    def interaction(self, points: Tensor, grads: Tensor) -> Tensor:
        ratio, _ = scaled_distances(points)
        return weighted_differences((1 - ratio) * torch.exp(-ratio), points)


def scaled_distances(points: Tensor) -> tuple[Tensor, Tensor]:
    """Return the squared distances over 2h^2 (n, n) of points (n, D), and 1 / 2h^2; zero where no two rows differ."""
    squares = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist").square()
    others = ~torch.eye(len(points), dtype=torch.bool, device=points.device)
    width = squares[others].median() / torch.log(torch.tensor(len(points) + 1.0))
    inverse = torch.where(width > 0, 1 / width, 0.0)
    return squares * inverse, inverse


def weighted_differences(weights: Tensor, points: Tensor) -> Tensor:
    """Return sum_j weights_ij (x_i - x_j), (n, D), from weights (n, n) and points (n, D)."""
    return weights.sum(1, keepdim=True) * points - weights @ points
