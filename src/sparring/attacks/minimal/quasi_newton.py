"""The projected quasi-Newton direction of L-BFGS, row by row (Nocedal & Wright 2006, algorithm 7.4).

A component at the edge of the range that would leave it is fixed; the two-loop recursion runs over the free ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...geometry import rowwise, tiny
from ...geometry.region import Region

CURVATURE = 1e-10  # the least s^T y / |y|^2 of a pair that is used


@dataclass(frozen=True)
class Evaluation:
    """An image and the loss there; the objective follows for any c."""

    image: Tensor  # (B, ...)
    loss: Tensor  # (B,)
    grad: Tensor  # (B, ...) of the loss

    def where(self, rows: Tensor, other: Evaluation) -> Evaluation:
        """Return this evaluation in these rows (B,) bool, and the other elsewhere."""
        wide = rowwise(rows, self.image)
        return Evaluation(
            torch.where(wide, self.image, other.image),
            torch.where(rows, self.loss, other.loss),
            torch.where(wide, self.grad, other.grad),
        )

    def objective(self, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return |r|^2 - weight * loss (B,), where a higher loss is nearer to the goal, and its gradient (B, ...)."""
        delta = self.image - x
        value = delta.square().flatten(1).sum(1) - weight * self.loss
        return value, 2 * delta - self.grad * rowwise(weight, x)


@dataclass(frozen=True)
class History:
    """The pairs that the Hessian is approximated from, newest first; pairs of zeros are none."""

    s: Tensor  # (B, history_size, n) differences of images
    y: Tensor  # (B, history_size, n) differences of the objective's gradients

    def pushed(self, rows: Tensor, s: Tensor, y: Tensor) -> History:
        """Return the history with a pair (B, n) each in front, in these rows (B,) bool."""
        where = rows[:, None, None]
        newest_s, newest_y = (torch.cat([new[:, None], old[:, :-1]], dim=1) for new, old in ((s, self.s), (y, self.y)))
        return History(torch.where(where, newest_s, self.s), torch.where(where, newest_y, self.y))

    def forgotten(self, rows: Tensor) -> History:
        """Return the history without pairs in these rows (B,) bool."""
        where = rows[:, None, None]
        return History(self.s.masked_fill(where, 0), self.y.masked_fill(where, 0))


def is_curved(s: Tensor, y: Tensor) -> Tensor:
    """Return (B,) bool: does the pair (B, n) each have enough curvature to be used?"""
    return (s * y).sum(1) > CURVATURE * y.square().sum(1)


def quasi_newton_direction(region: Region, image: Tensor, grad: Tensor, history: History) -> Tensor:
    """Return -H grad (B, ...) over the components that are free to move; H is half the identity without a history.

    Args:
        image: (B, ...) the iterates.
        grad: (B, ...) of the objective, there.
        history: of the past iterates.
    """
    free = (region.room(-grad, image) > 0) | (grad == 0)
    rest = (grad * free).flatten(1)
    s, y = history.s * free.flatten(1)[:, None], history.y * free.flatten(1)[:, None]
    product, squares = (s * y).sum(2), y.square().sum(2)
    usable = product > CURVATURE * squares
    rho = torch.where(usable, 1 / product.clamp_min(tiny(image)), 0)
    last = usable.to(torch.int8).argmax(1, keepdim=True)  # the newest usable pair
    gamma = torch.where(usable, product / squares.clamp_min(tiny(image)), 0.5).gather(1, last)
    alphas = []
    result = rest
    for i in range(s.shape[1]):
        alphas.append(rho[:, i] * (s[:, i] * result).sum(1))
        result = result - alphas[i][:, None] * y[:, i]
    result = result * gamma
    for i in reversed(range(s.shape[1])):
        beta = rho[:, i] * (y[:, i] * result).sum(1)
        result = result + (alphas[i] - beta)[:, None] * s[:, i]
    uphill = (result * rest).sum(1) <= 0
    return -torch.where(uphill[:, None], rest / 2, result).view_as(image)
