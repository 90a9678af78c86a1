"""The iteration that FAB and FAB-T share (Croce & Hein 2020, arXiv:1907.02044, algorithm 1).

    pi      = { z : f(x_i) + <grad f(x_i), z - x_i> = 0 }            the linearised boundary
    d_i     = proj_pi(y_i) - y_i,  d_orig = proj_pi(x) - x           in the attack's norm, within the valid range
    alpha   = min( |d_i| / (|d_i| + |d_orig|), alpha_max )
    x_{i+1} = (1 - alpha) (y_i + eta d_i) + alpha (x + eta d_orig)

where y_i is x_i, or (1 - beta) x + beta x_i once x_i succeeds. In the end a search between x and the best point.

Departures: the plane is taken at x_i also where x_i succeeds, not at y_i: one gradient pass a step instead of that
and a forward pass. The search is Newton's and then the secant's. A random start lies as far as half the linear
distance to the boundary (the authors: half of eps), which is known in every norm and on every data set.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from ...access import Batch, Gradients
from ...geometry import L1, L2, Ball, Linf, rowwise, tiny
from ...geometry.region import Region
from ..minimum_norm import MinimumNormAttack
from .boundary_search import newton_search
from .linear_boundary import LinearBoundary

A = TypeVar("A", bound=Gradients, contravariant=True)
SEARCH_ITER = 3  # passes of the final search


@dataclass(frozen=True)
class FABState:
    """The iterate of each row, and its nearest example; (B,) unless stated otherwise."""

    image: Tensor  # (B, ...)
    best: Tensor  # (B, ...) the nearest example
    size: Tensor  # its distance; infinite before the first
    margin: Tensor  # there
    slope: Tensor  # the change of the linearised margin from x to the best example


class AdaptiveBoundary(MinimumNormAttack[A, FABState]):
    """The steps that FAB and FAB-T share; they differ in the boundary that they linearise."""

    steps: int
    alpha_max: float
    eta: float
    beta: float
    random_start: bool

    norms: ClassVar[tuple[type[Ball], ...]] = (Linf, L2, L1)
    alternative: ClassVar[str] = "FMN"

    @property
    def state(self) -> Any:
        return FABState

    @abstractmethod
    def boundary(self, oracle: A, image: Tensor) -> LinearBoundary:
        """Return the linearised boundary at `image` (B, ...)."""

    def init(self, oracle: A, batch: Batch) -> FABState:
        x, zero = oracle.region.x, torch.zeros_like(oracle.region.eps)
        return FABState(self._start(oracle) if self.random_start else x, x, zero + torch.inf, zero, zero)

    def _start(self, oracle: A) -> Tensor:
        """An image (B, ...) in a random direction, half as far as the boundary seems to be."""
        region = oracle.region
        boundary = self.boundary(oracle, region.x)
        distance = boundary.value.abs() / region.dual_norm(boundary.grad).clamp_min(tiny(region.x))
        length = torch.minimum(distance / 2, region.eps)
        return region.clamp_(region.x + region.direction(oracle.key, "start") * rowwise(length, region.x))

    def step(self, oracle: A, state: FABState, t: int) -> FABState:
        region, x, image = oracle.region, oracle.region.x, state.image
        boundary = self.boundary(oracle, image)
        grad = region.masked(boundary.grad)
        state = _with_best(region, state, boundary.margin, _inner(grad, image - x))
        y = torch.where(rowwise(boundary.margin > 0, x), x + self.beta * (image - x), image)
        from_y = region.onto_hyperplane(grad, _inner(grad, image - y) - boundary.value, at=y)
        from_x = region.onto_hyperplane(grad, _inner(grad, image - x) - boundary.value)
        length = region.norm(from_y)
        alpha = (length / (length + region.norm(from_x)).clamp_min(tiny(x))).clamp_(max=self.alpha_max)
        moved = (y + self.eta * from_y).lerp(x + self.eta * from_x, rowwise(alpha, x))
        return replace(state, image=region.clamp_(moved))

    def finish(self, oracle: A, state: FABState) -> None:
        """Query the last iterate, then search the segment from x to the best example."""
        state = _with_best(oracle.region, state, oracle.score(state.image).margin, state.slope)
        rows = state.size.isfinite().nonzero().squeeze(1)
        newton_search(oracle, state.best, state.margin, state.slope, rows, SEARCH_ITER)


def _with_best(region: Region, state: FABState, margin: Tensor, slope: Tensor) -> FABState:
    """The state with its image in the place of the best one, where it succeeds and is nearer."""
    size = region.norm(state.image - region.x)
    better = (margin > 0) & (size < state.size)
    return replace(
        state,
        best=torch.where(rowwise(better, region.x), state.image, state.best),
        size=torch.where(better, size, state.size),
        margin=torch.where(better, margin, state.margin),
        slope=torch.where(better, slope, state.slope),
    )


def _inner(grad: Tensor, delta: Tensor) -> Tensor:
    """(B,) <grad, delta>."""
    return (grad * delta).flatten(1).sum(1)
