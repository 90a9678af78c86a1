"""Boundary attack (Brendel, Rauber & Bethge 2018, arXiv:1712.04248, algorithm 1 and figure 2).

From an adversarial image x_b at distance d from x, a normal direction eta, orthogonal to x_b - x and of length
spherical_step * d, leads to a point of the sphere,

    s = x + (x_b - x + eta) / sqrt(1 + spherical_step^2);

if s is adversarial, a step towards the image is tried, z = s + source_step * (x - s), and z replaces x_b if it is
adversarial. Both step sizes follow their own rate of success, row by row.

Departures, the first two measured at 1,000 queries on two nets: where s is adversarial and z is not, the row goes on
from s, which is as near and lies deeper, while the authors' code stays; the step sizes change after every query, by
step_adaptation^(1 - rate) where it succeeded and step_adaptation^(-rate) where it failed, with 0.25 and 0.35 as the
rates of success in the long run, while the paper waits for windows of queries; both start at 0.1 rather than 0.01; the
first adversarial image is drawn near by halving.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from ...access import Batch, Bounds, Decisions, OpenFraction, PositiveFraction, PositiveInt
from ...geometry import L2, Ball, rowwise, unit
from .decision_attack import DecisionAttack, DecisionState, bisect_to_boundary

SPHERICAL_RATE, SOURCE_RATE = 0.25, 0.35  # of the queries that shall succeed
LARGEST_SOURCE_STEP = 0.5
CONVERGED = 1e-7  # a source step of this share of the distance is no progress


@dataclass(frozen=True)
class BoundaryState(DecisionState):
    """An adversarial image per row, and the step sizes (B,), which are shares of its distance."""

    towards_source: Tensor  # (B,) bool: the row has just moved on its sphere, and the step to the image is next
    spherical_step: Tensor
    source_step: Tensor


@dataclass(frozen=True)
class Boundary(DecisionAttack[Decisions, BoundaryState]):
    """Find the smallest L2 norm from labels alone, by a random walk along the boundary; a step is one query a row.

    Args:
        ball: L2(); a finite eps asks for examples within it.
        steps: queries per row, without those of the start (at most `init_size` and the starting_pool, and 8).
        spherical_step: the first step on the sphere, as a share of the distance (0.01 in the authors' code).
        source_step: the first step towards the image, as a share of the distance (0.01 in the authors' code).
        step_adaptation: the factor by which a query changes a step size (1.5 per window of queries in the authors'
            code).
        init_size: the largest number of random images tried as starting points.
        starting_pool: images (M, C, H, W) tried first as starting points; a targeted goal needs adversarial ones.
    """

    ball: Ball = L2()
    steps: PositiveInt = 5000
    spherical_step: PositiveFraction = 0.1
    source_step: OpenFraction = 0.1
    step_adaptation: Annotated[float, Bounds(gt=1)] = 1.1
    init_size: PositiveInt = 100
    starting_pool: Tensor | None = field(default=None, repr=False, compare=False)

    norms: ClassVar[tuple[type[Ball], ...]] = (L2,)
    alternative: ClassVar[str] = "HopSkipJump"

    def init(self, oracle: Decisions, batch: Batch) -> BoundaryState:
        found, stuck = self.find_start(oracle, batch)
        adversarial = bisect_to_boundary(oracle, found, stuck)
        one = torch.ones_like(oracle.region.eps)
        towards_source = torch.zeros_like(stuck)
        return BoundaryState(adversarial, stuck, towards_source, one * self.spherical_step, one * self.source_step)

    def done(self, state: BoundaryState) -> Tensor:
        return state.source_step < CONVERGED

    def step(self, oracle: Decisions, state: BoundaryState, t: int) -> BoundaryState:
        towards_source, delta = state.towards_source, state.adversarial - oracle.region.x
        nearer = state.adversarial - delta * rowwise(state.source_step, delta)
        trial = torch.where(rowwise(towards_source, delta), nearer, _on_sphere(oracle, state, delta, t))
        success = oracle.decide(trial)
        spherical = self._adapted(state.spherical_step, success, ~towards_source, SPHERICAL_RATE).clamp(max=1.0)
        source = self._adapted(state.source_step, success, towards_source, SOURCE_RATE).clamp(max=LARGEST_SOURCE_STEP)
        adversarial = torch.where(rowwise(success, trial), trial, state.adversarial)
        return BoundaryState(adversarial, state.stuck, success & ~towards_source, spherical, source)

    def _adapted(self, size: Tensor, success: Tensor, asked: Tensor, rate: float) -> Tensor:
        """The step size after a query where `asked`: unchanged in the long run at this rate of success."""
        return torch.where(asked, size * self.step_adaptation ** (success.to(size.dtype) - rate), size)


def _on_sphere(oracle: Decisions, state: BoundaryState, delta: Tensor, t: int) -> Tensor:
    """A random neighbour at the same distance; nearer where the valid range cuts it."""
    region, ahead, size = oracle.region, unit(delta), state.spherical_step
    eta = region.masked(oracle.key.normal("direction", delta.shape[1:], t, delta.dtype))
    eta = unit(eta - ahead * rowwise((eta * ahead).flatten(1).sum(1), delta))
    length, shrink = region.norm(delta) * size, (1 + size.square()).rsqrt()
    moved = (delta + eta * rowwise(length, delta)) * rowwise(shrink, delta)
    return region.clamp_(region.x + moved)
