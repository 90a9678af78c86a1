"""Boundary attack (Brendel, Rauber & Bethge 2018, arXiv:1712.04248, algorithm 1 and figure 2).

From a winner x_b at distance d from x, a normal direction eta, orthogonal to x_b - x and of length orthogonal * d,
leads to a point of the sphere,

    s = x + (x_b - x + eta) / sqrt(1 + orthogonal^2);

if s wins, a step towards the image is tried, z = s + source * (x - s), and z is the new winner if it wins. Both step
sizes follow their own rate of success, row by row.

Departures, the first two measured at 1,000 queries on two nets: where s wins and z does not, the row goes on from s,
which is as near and lies deeper, while the authors' code stays; the step sizes change after every query, by
growth^(1 - share) where it won and growth^(-share) where it lost, with 0.25 and 0.35 as the shares that win in the
long run, while the paper waits for windows of queries; both start at 0.1 rather than 0.01; the first winner is drawn
near by halving.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Batch, Decisions
from ...errors import ConfigError
from ...geometry import L2, Ball, rowwise, unit
from .start import Found, FromWinner, draw_near

ORTHOGONAL_SHARE, SOURCE_SHARE = 0.25, 0.35  # of the queries that shall win
CONVERGED = 1e-7  # a source step of this share of the distance is no progress


@dataclass(frozen=True)
class Stroll(Found):
    """A winner per row, and the step sizes, which are shares of its distance."""

    inward: Tensor  # bool: the winner has just moved on its sphere, and the step to the image is next
    orthogonal: Tensor
    source: Tensor


@dataclass(frozen=True)
class Boundary(FromWinner[Decisions, Stroll]):
    """Minimum L2 norm from labels alone, by a random walk along the boundary; each step is one query of every row.

    Args:
        ball: L2(); a finite eps asks for examples within it.
        steps: queries per row, without those of the start (at most `starts` and the pool, and 8).
        orthogonal: the first step on the sphere, as a share of the distance (0.01 in the authors' code).
        source: the first step towards the image, as a share of the distance (0.01 in the authors' code).
        growth: by how much a query changes a step size (the authors' code: 1.5 per window of queries).
        starts: random images tried as a start, at most.
        pool: images (M, C, H, W) tried first as a start; a targeted goal needs some that already win.
    """

    ball: Ball = L2()
    steps: int = 5000
    orthogonal: float = 0.1
    source: float = 0.1
    growth: float = 1.1
    starts: int = 100
    pool: Tensor | None = field(default=None, repr=False, compare=False)

    norms: ClassVar[tuple[type[Ball], ...]] = (L2,)
    elsewhere: ClassVar[str] = "HopSkipJump"
    regional: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.steps, self.starts) < 1:
            raise ConfigError(f"Boundary steps={self.steps}, starts={self.starts}; pass numbers of at least 1")
        if not (0 < self.orthogonal <= 1 and 0 < self.source < 1 and self.growth > 1):
            numbers = f"orthogonal={self.orthogonal}, source={self.source}, growth={self.growth}"
            raise ConfigError(f"Boundary {numbers}; pass step sizes in (0, 1) and a growth above 1")

    def init(self, oracle: Decisions, batch: Batch) -> Stroll:
        winner, stuck = self.find_start(oracle, batch)
        winner = draw_near(oracle, winner, stuck)
        one = torch.ones_like(oracle.region.eps)
        inward = torch.zeros_like(stuck)
        return Stroll(winner, stuck, inward, one * self.orthogonal, one * self.source)

    def done(self, state: Stroll) -> Tensor:
        return state.source < CONVERGED

    def step(self, oracle: Decisions, state: Stroll, t: int) -> Stroll:
        inward, delta = state.inward, state.winner - oracle.region.x
        nearer = state.winner - delta * rowwise(state.source, delta)
        trial = torch.where(rowwise(inward, delta), nearer, self._on_sphere(oracle, state, delta, t))
        won = oracle.decide(trial)
        orthogonal = _adapted(state.orthogonal, won, ~inward, ORTHOGONAL_SHARE, self.growth).clamp(max=1.0)
        source = _adapted(state.source, won, inward, SOURCE_SHARE, self.growth).clamp(max=0.5)
        winner = torch.where(rowwise(won, trial), trial, state.winner)
        return replace(state, winner=winner, inward=won & ~inward, orthogonal=orthogonal, source=source)

    def _on_sphere(self, oracle: Decisions, state: Stroll, delta: Tensor, t: int) -> Tensor:
        """A random neighbour at the same distance; nearer where the valid range cuts it."""
        region, ahead = oracle.region, unit(delta)
        eta = region.masked(oracle.key.normal("direction", delta.shape[1:], t, delta.dtype))
        eta = unit(eta - ahead * rowwise((eta * ahead).flatten(1).sum(1), delta))
        length, shrink = region.norm(delta) * state.orthogonal, (1 + state.orthogonal.square()).rsqrt()
        moved = (delta + eta * rowwise(length, delta)) * rowwise(shrink, delta)
        return region.clamp_(region.x + moved)


def _adapted(size: Tensor, won: Tensor, asked: Tensor, share: float, growth: float) -> Tensor:
    """The step size after a query where `asked`: unchanged in the long run if `share` of the queries win."""
    return torch.where(asked, size * growth ** (won.to(size.dtype) - share), size)
