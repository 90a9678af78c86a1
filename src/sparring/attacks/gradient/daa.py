"""Distributionally adversarial attack (Zheng, Chen & Ren 2018, arXiv:1808.05537).

PGD on all images of a batch at once: what is climbed is the loss of the batch's distribution, so each row also feels
the others, through the kernel K_ij = exp(-|x_i - x_j|^2 / 2h^2) between the images as they stand:

    DAABlob:  grad L(x_i) + weight / n * sum_j ( K_ij grad L(x_j) + grad_{x_i} K_ij )
    DAADGF:   grad L(x_i) + weight * sum_j (1 - |x_i - x_j|^2 / 2h^2) K_ij (x_i - x_j)

takes the place of the gradient in PGD's step; 2h^2 is the median of the squared distances over log(n + 1). The
second is Lagrangian's discrete gradient flow: half the gradient of sum_j |x_i - x_j|^2 K_ij.

The n rows are those of the engine's batch that are still in play: a row that is won leaves the kernel with the batch
(on a GPU, where the engine looks every eighth step, up to seven steps later). Alone, a row does plain PGD.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...access import BatchCoupled, Gradients
from ...errors import ConfigError
from ...goals import Climb, CrossEntropy
from .pgd import PGD, PGDState


@dataclass(frozen=True)
class DAA(PGD, BatchCoupled[Gradients, PGDState]):
    """What both forms share: PGD with the gradient of the batch's energy, in which the size of gradients counts."""

    weight: float = 0.0
    loss: Climb | None = field(default_factory=CrossEntropy)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.weight >= 0:
            raise ConfigError(f"{self.name} weight={self.weight}; pass a number >= 0")

    def step(self, oracle: Gradients, state: PGDState, t: int) -> PGDState:
        region = oracle.region
        grad = region.masked(oracle.gradient(state.x, loss=self.loss).grad)
        pushed = grad + self.weight * self.push(state.x.flatten(1), grad.flatten(1)).view_as(grad)
        return PGDState(region.ascend_(pushed, state.x, self.rate_at(t, region)))

    @abstractmethod
    def push(self, points: Tensor, grads: Tensor) -> Tensor:
        """(n, pixels) what the other rows add to the gradients."""


@dataclass(frozen=True)
class DAABlob(DAA):
    """The blob form: neighbours share their gradients, and draw together. Arguments of PGD, and:

    Args:
        weight: of the other rows (1.1 for the cross-entropy in the authors' code, 10 for the margin).
        loss: what is climbed; None: the goal's own.
    """

    weight: float = 1.1

    def push(self, points: Tensor, grads: Tensor) -> Tensor:
        ratio, inverse = nearness(points)
        kernel = torch.exp(-ratio)
        return (kernel @ grads - 2 * inverse * pull(kernel, points)) / len(points)


@dataclass(frozen=True)
class DAADGF(DAA):
    """The form by discrete gradient flow: neighbours push each other apart. Arguments of PGD, and:

    Args:
        weight: of the other rows (0.001 for the cross-entropy in the authors' code, 0.01 for the margin).
        loss: what is climbed; None: the goal's own.
    """

    weight: float = 0.001

    def push(self, points: Tensor, grads: Tensor) -> Tensor:
        ratio, _ = nearness(points)
        return pull((1 - ratio) * torch.exp(-ratio), points)


def nearness(points: Tensor) -> tuple[Tensor, Tensor]:
    """(n, n) squared distances over 2h^2, and 1 / 2h^2: zero where no two rows differ."""
    squares = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist").square()
    others = ~torch.eye(len(points), dtype=torch.bool, device=points.device)
    width = squares[others].median() / torch.log(torch.tensor(len(points) + 1.0))
    inverse = torch.where(width > 0, 1 / width, 0.0)
    return squares * inverse, inverse


def pull(weights: Tensor, points: Tensor) -> Tensor:
    """(n, pixels) sum_j weights_ij (x_i - x_j)."""
    return weights.sum(1, keepdim=True) * points - weights @ points
