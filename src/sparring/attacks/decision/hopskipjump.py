"""HopSkipJump (Chen, Jordan & Wainwright 2020, arXiv:1904.02144, algorithm 2).

From an image that wins, each iteration searches the segment to the original for the boundary, estimates the
direction of the margin's gradient there from decisions alone,

    v_t = 1 / (B_t - 1) * sum_b (phi_b - mean phi) u_b,    phi_b = +-1: does x_t + delta_t u_b win?

with B_t = B_0 sqrt(t) directions and delta_t = |x_t - x| / d, and jumps |x_t - x| / sqrt(t) along it (along
its sign in Linf), halving the jump until it wins.

Departures: directions are random signs rather than Gaussian or uniform, which in these dimensions estimate as
well and cost a tenth; the segment is halved at most 24 times, where float32 ends; every second start tried is
coarse noise, since fine noise is all one class to many nets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Batch, Decisions
from ...errors import ConfigError
from ...geometry import L2, Ball, Linf, rowwise
from .start import Found, FromWinner

HALVINGS = 24  # of a segment or a jump
CHUNK = 1 << 16  # numbers per row in one set of directions: memory stays flat


@dataclass(frozen=True)
class HopSkipJump(FromWinner[Decisions, Found]):
    """Minimum norm from labels alone.

    Args:
        ball: L2() or Linf(); a finite eps asks for examples within it.
        steps: iterations (50 in the authors' code).
        directions: B_0, queries of the first estimate (100 in the authors' code).
        most: the most queries of one estimate (10,000 there).
        starts: random images tried as a start, at most (100 there).
        pool: images (M, C, H, W) tried first as a start; a targeted goal needs some that already win.
    """

    ball: Ball = L2()
    steps: int = 50
    directions: int = 100
    most: int = 10_000
    starts: int = 100
    pool: Tensor | None = field(default=None, repr=False, compare=False)

    norms: ClassVar[tuple[type[Ball], ...]] = (L2, Linf)
    elsewhere: ClassVar[str] = "FMN"
    regional: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.steps, self.directions, self.starts) < 1:
            raise ConfigError("HopSkipJump needs steps, directions and starts of at least 1")

    def init(self, oracle: Decisions, batch: Batch) -> Found:
        return Found(*self.find_start(oracle, batch))

    def step(self, oracle: Decisions, state: Found, t: int) -> Found:
        region, edge = oracle.region, self._boundary(oracle, state.winner)
        distance = region.norm(edge - region.x)
        probe = torch.full_like(distance, 0.1 * region.inputs.scale) if t == 0 else distance / region.dimension
        count = min(int(self.directions * math.sqrt(t + 1)), self.most)
        direction = self._direction(oracle, edge, probe, count, t)
        return replace(state, winner=self._jump(oracle, edge, direction, distance / math.sqrt(t + 1)))

    def finish(self, oracle: Decisions, state: Found) -> None:
        self._boundary(oracle, state.winner)

    def _boundary(self, oracle: Decisions, winner: Tensor) -> Tensor:
        """Bisect to a relative width of d^(-3/2) in L2, d^-2 in Linf; the side that wins is returned."""
        region, power = oracle.region, 2.0 if math.isinf(oracle.region.ball.p) else 1.5
        way, low = winner - region.x, torch.zeros_like(region.eps)
        high = torch.ones_like(low)
        for _ in range(min(math.ceil(power * math.log2(way[0].numel())), HALVINGS)):
            middle = (low + high) / 2
            won = oracle.decide(region.x + region.shrink(way, middle))
            low, high = torch.where(won, low, middle), torch.where(won, middle, high)
        return region.clamp_(region.x + region.shrink(way, high))

    def _direction(self, oracle: Decisions, edge: Tensor, probe: Tensor, count: int, t: int) -> Tensor:
        """The estimate v_t at the edge, in the geometry of the norm."""
        region, shape, (b, d) = oracle.region, edge.shape[1:], edge.flatten(1).shape
        size = max(4, CHUNK // d)
        pull, drift = torch.zeros_like(edge), torch.zeros_like(edge)  # sums of phi u and of u
        votes = torch.zeros_like(probe)
        for start in range(0, count, size):
            n = min(size, count - start)
            signs = oracle.key.signs("directions", (n, *shape), t * 1_000_003 + start, edge.dtype)
            moved = torch.addcmul(edge[:, None], signs, rowwise(probe / region.dimension.sqrt(), signs))
            moved = region.clamp_many_(moved)
            rows = torch.arange(b, device=edge.device).repeat_interleave(n)
            won = oracle.decide(moved.flatten(0, 1), rows=rows).view(b, n)
            phi = won.to(edge.dtype) * 2 - 1
            moved -= edge[:, None]
            drift += moved.sum(1)
            pull += moved.mul_(phi.view(b, n, *[1] * len(shape))).sum(1)
            votes += phi.sum(1)
        mean = rowwise(votes / count, edge)
        return region.steepest(torch.where(mean.abs() == 1, mean * drift, pull - mean * drift))

    def _jump(self, oracle: Decisions, edge: Tensor, direction: Tensor, length: Tensor) -> Tensor:
        """Halve the jump until it wins; a row that never does stays on the edge, which wins."""
        winner, waiting = edge.clone(), torch.ones_like(length, dtype=torch.bool)
        for _ in range(HALVINGS):
            rows = (waiting & oracle.open()).nonzero().squeeze(1)
            if len(rows) == 0:
                break
            trial = oracle.region.clamp_(edge + direction * rowwise(length, edge))[rows]
            won = oracle.decide(trial, rows=rows)
            winner[rows[won]] = trial[won]
            waiting[rows[won]] = False
            length = length / 2
        return winner
