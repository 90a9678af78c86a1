"""SurFree (Maho, Furon & Le Merrer 2021, arXiv:2011.12807, algorithm 1).

No gradient is estimated. From a winner at distance d = |x_b - x| along u, a random direction v, orthogonal to u,
opens a half circle over the segment from x to x_b,

    z(angle) = x + d cos(angle) (cos(angle) u + sin(angle) v),

each of whose points lies nearer, at d cos(angle). Where the boundary is flat, z wins up to the angle at which it is
nearest in the plane of u and v, and no further. So a direction is tried at `widest` on one side and on the other; on
the side that wins the largest angle is searched. `widest` grows by 1 / (1 - kappa) after a direction that won and
shrinks by 1 - kappa after one that lost on both sides. Directions are normal in the low frequencies of the cosine
transform, shaped by those of the image: a * tanh|DCT(x)| (section 5).

Departures, most of them measured at 1,000 queries on two nets: both sides are tried at one angle, not at several,
which costs 2 queries and not 6 where nothing wins; the search goes outwards from the angle that won, by that
angle, a half of it, ..., in `refinements` queries and not 10, for most of the gain comes with the first; a
frequency that the image lacks is not left out (0.1 + tanh|DCT(x)|), since a flat image would leave hardly any; the
side that comes first changes with v alone; directions are not kept orthogonal to the last 100, which gained nothing
and would keep 100 images per row; a row ends where `widest` is below 1e-3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Batch, Decisions
from ...errors import ConfigError
from ...geometry import L2, Ball, rowwise, unit
from ...geometry.region import Region
from ...random import Key
from ...rows import take
from .start import Found, FromWinner, draw_near

NARROWEST = 1e-3  # radians: an angle gains its square over 2 of the distance
FLOOR = 0.1  # of the size of a wave that the image does not hold
FRESH, OTHER_SIDE, SEARCH = 0, 1, 2  # what a row asks next; SEARCH + i: its i-th step outwards


@dataclass(frozen=True)
class Arc(Found):
    """A winner per row, and the half circle on which the row is searching."""

    direction: Tensor  # v, of length d
    angle: Tensor  # asked next, where the row is not FRESH
    reached: Tensor  # the largest angle that won on this circle
    widest: Tensor
    phase: Tensor  # int64


@dataclass(frozen=True)
class SurFree(FromWinner[Decisions, Arc]):
    """Minimum L2 norm from labels alone, without gradient estimates; each step is one query of every row.

    Args:
        ball: L2(); a finite eps asks for examples within it.
        steps: queries per row, without those of the start (at most `starts` and the pool, and 8).
        share: of the frequencies per side, lowest first, that directions are made of (0.5 in the authors' code).
        refinements: queries on a circle after the first that won (10 in the paper, there between two angles).
        angle: the first `widest`, in degrees (30 in the paper).
        kappa: how `widest` adapts (0.02 in the paper).
        starts: random images tried as a start, at most.
        pool: images (M, C, H, W) tried first as a start; a targeted goal needs some that already win.
    """

    ball: Ball = L2()
    steps: int = 5000
    share: float = 0.5
    refinements: int = 2
    angle: float = 30.0
    kappa: float = 0.02
    starts: int = 100
    pool: Tensor | None = field(default=None, repr=False, compare=False)

    norms: ClassVar[tuple[type[Ball], ...]] = (L2,)
    elsewhere: ClassVar[str] = "HopSkipJump"
    pixel_grid: ClassVar[bool] = True
    regional: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.steps, self.starts, self.refinements) < 1:
            numbers = f"steps={self.steps}, refinements={self.refinements}, starts={self.starts}"
            raise ConfigError(f"SurFree {numbers}; pass numbers of at least 1")
        if not (0 < self.share <= 1 and 0 < self.kappa < 1 and 0 < self.angle < 90):
            numbers = f"share={self.share}, kappa={self.kappa}, angle={self.angle}"
            raise ConfigError(f"SurFree {numbers}; pass a share in (0, 1], a kappa in (0, 1) and an angle in (0, 90)")

    def init(self, oracle: Decisions, batch: Batch) -> Arc:
        winner, stuck = self.find_start(oracle, batch)
        winner = draw_near(oracle, winner, stuck)
        zero = torch.zeros_like(oracle.region.eps)
        widest = zero + math.radians(self.angle)
        phase = torch.zeros_like(oracle.key.indices)
        return Arc(winner, stuck, torch.zeros_like(winner), zero, zero, widest, phase)

    def done(self, state: Arc) -> Tensor:
        return state.widest < NARROWEST

    def step(self, oracle: Decisions, state: Arc, t: int) -> Arc:
        fresh, other = state.phase == FRESH, state.phase == OTHER_SIDE
        region = oracle.region
        state = self._turned(oracle, state, fresh, t)
        won = oracle.decide(self._at(region, state, state.angle))
        reached = torch.where(won, state.angle, state.reached)
        lost = other & ~won
        ended = state.phase == SEARCH + self.refinements - 1
        onwards = torch.where(state.phase < SEARCH, SEARCH, state.phase + 1)
        phase = torch.where(fresh & ~won, OTHER_SIDE, torch.where(lost | ended, FRESH, onwards))
        outwards = reached + reached.sign() * state.widest * 0.5 ** (phase - SEARCH)
        angle = torch.where(phase == OTHER_SIDE, -state.angle, outwards)
        grown = torch.where(ended, state.widest / (1 - self.kappa), state.widest).clamp(max=1.0)
        widest = torch.where(lost, state.widest * (1 - self.kappa), grown)
        winner = torch.where(rowwise(ended, region.x), self._at(region, state, reached), state.winner)
        return replace(state, winner=winner, angle=angle, reached=reached, widest=widest, phase=phase)

    def _turned(self, oracle: Decisions, state: Arc, fresh: Tensor, t: int) -> Arc:
        """Fresh rows with a new direction, about to be asked at the widest angle."""
        rows = fresh.nonzero().squeeze(1)
        direction = state.direction.clone()
        if len(rows):
            there = oracle.region.take(rows)
            x, delta = there.x, state.winner[rows] - there.x
            ahead = unit(delta)
            wave = there.masked(self._wave(take(oracle.key, rows), x, t))
            wave = wave - ahead * rowwise((wave * ahead).flatten(1).sum(1), x)
            direction[rows] = unit(wave) * rowwise(there.norm(delta), x)
        angle = torch.where(fresh, state.widest, state.angle)
        return replace(state, direction=direction, angle=angle, reached=state.reached.masked_fill(fresh, 0))

    def _wave(self, key: Key, x: Tensor, t: int) -> Tensor:
        high, wide = (cosines(n, max(1, math.ceil(n * self.share)), x.dtype, x.device) for n in x.shape[2:])
        size = (high @ x @ wide.T).abs().tanh() + FLOOR
        draw = key.normal("direction", size.shape[1:], t, x.dtype) * size
        return high.T @ draw @ wide

    def _at(self, region: Region, state: Arc, angle: Tensor) -> Tensor:
        cosine, sine = rowwise(angle.cos(), region.x), rowwise(angle.sin(), region.x)
        turned = (state.winner - region.x) * cosine + state.direction * sine
        return region.clamp_(region.x + turned * cosine)


@lru_cache(maxsize=16)
def cosines(n: int, count: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(count, n): the lowest frequencies of the orthonormal cosine transform (DCT-II) of n points."""
    frequency = torch.arange(count, dtype=torch.float64)[:, None]
    waves = torch.cos(math.pi / n * frequency * (torch.arange(n, dtype=torch.float64) + 0.5)) * math.sqrt(2 / n)
    waves[0] /= math.sqrt(2)
    return waves.to(device, dtype)
