"""SurFree (Maho, Furon & Le Merrer 2021, arXiv:2011.12807, algorithm 1).

No gradient is estimated. From an adversarial image at distance d = |x_b - x| along u, a random direction v, orthogonal
to u, opens a half circle over the segment from x to x_b,

    z(theta) = x + d cos(theta) (cos(theta) u + sin(theta) v),

each of whose points lies nearer, at d cos(theta). Where the boundary is flat, z is adversarial up to the angle at which
it is nearest in the plane of u and v, and no further. So a direction is tried at theta_max on one side and on the
other; on the side that succeeds the largest angle is searched. theta_max grows by 1 / (1 - kappa) after a direction
that succeeded and shrinks by 1 - kappa after one that failed on both sides. Directions are normal in the low
frequencies of the cosine transform, shaped by those of the image: a * tanh|DCT(x)| (section 5).

Departures, most of them measured at 1,000 queries on two nets: both sides are tried at one angle, not at several,
which costs 2 queries and not 6 where nothing succeeds; the search goes outwards from the angle that succeeded, by that
angle, a half of it, ..., in `search_iter` queries and not 10, for most of the gain comes with the first; a frequency
that the image lacks is not left out (0.1 + tanh|DCT(x)|), since a flat image would leave hardly any; the side that
comes first changes with v alone; directions are not kept orthogonal to the last 100, which gained nothing and would
keep 100 images per row; a row ends where theta_max is below 1e-3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from ...access import Batch, Bounds, Decisions, OpenFraction, PositiveFraction, PositiveInt
from ...geometry import L2, Ball, rowwise, unit
from ...geometry.region import Region
from ...random import Key
from ...rows import take
from ..cosine_transform import cosine_basis
from .decision_attack import DecisionAttack, DecisionState, bisect_to_boundary

SMALLEST_THETA = 1e-3  # radians: an angle gains its square over 2 of the distance
FLOOR = 0.1  # of the amplitude of a frequency that the image does not hold
NEW, OTHER_SIDE, SEARCH = 0, 1, 2  # what a row asks next; SEARCH + i: its i-th step outwards


@dataclass(frozen=True)
class SurFreeState(DecisionState):
    """An adversarial image per row, and the half circle on which the row is searching; (B,) but the direction."""

    direction: Tensor  # (B, ...) v, of length d
    theta: Tensor  # asked next, in radians, where the row has a direction
    reached: Tensor  # the largest angle that succeeded on this circle
    theta_max: Tensor
    phase: Tensor  # int64


@dataclass(frozen=True)
class SurFree(DecisionAttack[Decisions, SurFreeState]):
    """Find the smallest L2 norm from labels alone, without gradient estimates; each step is one query of every row.

    Args:
        ball: L2(); a finite eps asks for examples within it.
        steps: queries per row, without those of the start (at most `init_size` and the starting_pool, and 8).
        freq_dims: the share of the frequencies per side, lowest first, that directions are made of (0.5 in the authors'
            code).
        search_iter: queries on a circle after the first that succeeded (10 in the paper, there between two angles).
        theta_max: the first theta_max, in degrees (30 in the paper).
        kappa: the relative change of theta_max (0.02 in the paper).
        init_size: the largest number of random images tried as starting points.
        starting_pool: images (M, C, H, W) tried first as starting points; a targeted goal needs adversarial ones.
    """

    ball: Ball = L2()
    steps: PositiveInt = 5000
    freq_dims: PositiveFraction = 0.5
    search_iter: PositiveInt = 2
    theta_max: Annotated[float, Bounds(gt=0, lt=90)] = 30.0
    kappa: OpenFraction = 0.02
    init_size: PositiveInt = 100
    starting_pool: Tensor | None = field(default=None, repr=False, compare=False)

    norms: ClassVar[tuple[type[Ball], ...]] = (L2,)
    alternative: ClassVar[str] = "HopSkipJump"
    pixel_grid: ClassVar[bool] = True

    def init(self, oracle: Decisions, batch: Batch) -> SurFreeState:
        found, stuck = self.find_start(oracle, batch)
        adversarial = bisect_to_boundary(oracle, found, stuck)
        zero, phase = torch.zeros_like(oracle.region.eps), torch.zeros_like(oracle.key.indices)
        theta_max = zero + math.radians(self.theta_max)
        return SurFreeState(adversarial, stuck, torch.zeros_like(adversarial), zero, zero, theta_max, phase)

    def done(self, state: SurFreeState) -> Tensor:
        return state.theta_max < SMALLEST_THETA

    def step(self, oracle: Decisions, state: SurFreeState, t: int) -> SurFreeState:
        region, new, other = oracle.region, state.phase == NEW, state.phase == OTHER_SIDE
        state = self._with_directions(oracle, state, new, t)
        success = oracle.decide(_on_circle(region, state, state.theta))
        reached = torch.where(success, state.theta, state.reached)
        failed = other & ~success
        ended = state.phase == SEARCH + self.search_iter - 1
        onwards = torch.where(state.phase < SEARCH, SEARCH, state.phase + 1)
        phase = torch.where(new & ~success, OTHER_SIDE, torch.where(failed | ended, NEW, onwards))
        outwards = reached + reached.sign() * state.theta_max * 0.5 ** (phase - SEARCH)
        grown = torch.where(ended, state.theta_max / (1 - self.kappa), state.theta_max).clamp(max=1.0)
        nearer = _on_circle(region, state, reached)
        return replace(
            state,
            adversarial=torch.where(rowwise(ended, region.x), nearer, state.adversarial),
            theta=torch.where(phase == OTHER_SIDE, -state.theta, outwards),
            reached=reached,
            theta_max=torch.where(failed, state.theta_max * (1 - self.kappa), grown),
            phase=phase,
        )

    def _with_directions(self, oracle: Decisions, state: SurFreeState, new: Tensor, t: int) -> SurFreeState:
        """The state in which the rows in `new` have another direction, about to be asked at theta_max."""
        rows = new.nonzero().squeeze(1)
        direction = state.direction.clone()
        if len(rows):
            part = oracle.region.take(rows)
            delta = state.adversarial[rows] - part.x
            u = unit(delta)
            v = part.masked(self._low_frequencies(take(oracle.key, rows), part.x, t))
            v = v - u * rowwise((v * u).flatten(1).sum(1), part.x)
            direction[rows] = unit(v) * rowwise(part.norm(delta), part.x)
        theta = torch.where(new, state.theta_max, state.theta)
        return replace(state, direction=direction, theta=theta, reached=state.reached.masked_fill(new, 0))

    def _low_frequencies(self, key: Key, x: Tensor, t: int) -> Tensor:
        """A random image (B, C, H, W) of the low frequencies, shaped by those of x."""
        tall, wide = (cosine_basis(n, max(1, math.ceil(n * self.freq_dims)), x.dtype, x.device) for n in x.shape[2:])
        amplitude = (tall @ x @ wide.T).abs().tanh() + FLOOR
        return tall.T @ (key.normal("direction", amplitude.shape[1:], t, x.dtype) * amplitude) @ wide


def _on_circle(region: Region, state: SurFreeState, theta: Tensor) -> Tensor:
    """z(theta) (B, ...), kept in the valid range."""
    cosine, sine = rowwise(theta.cos(), region.x), rowwise(theta.sin(), region.x)
    turned = (state.adversarial - region.x) * cosine + state.direction * sine
    return region.clamp_(region.x + turned * cosine)
