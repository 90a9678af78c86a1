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

import torch
from torch import Tensor

from ...access import Batch, Decisions
from ...errors import ConfigError, ThreatError
from ...geometry import L2, Ball, Linf, rowwise, tiny
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

    def __post_init__(self) -> None:
        if not isinstance(self.ball, L2 | Linf):
            raise ThreatError(f"HopSkipJump knows L2 and Linf, not {self.ball}")
        if min(self.steps, self.directions, self.starts) < 1:
            raise ConfigError("HopSkipJump needs steps, directions and starts of at least 1")

    def init(self, oracle: Decisions, batch: Batch) -> Found:
        return Found(batch.x, batch.key, *self.find_start(oracle, batch))

    def step(self, oracle: Decisions, state: Found, t: int) -> Found:
        edge = self._boundary(oracle, state)
        distance = self.ball.norm(edge - state.x)
        probe = torch.full_like(distance, 0.1) if t == 0 else distance / state.x[0].numel()
        count = min(int(self.directions * math.sqrt(t + 1)), self.most)
        direction = self._direction(oracle, replace(state, winner=edge), probe, count, t)
        return replace(state, winner=self._jump(oracle, edge, direction, distance / math.sqrt(t + 1)))

    def finish(self, oracle: Decisions, state: Found) -> None:
        self._boundary(oracle, state)

    def _between(self, state: Found, share: Tensor) -> Tensor:
        """The point at `share` of the way to the winner: on the segment in L2, the clipped winner in Linf."""
        way = state.winner - state.x
        if isinstance(self.ball, L2):
            return state.x + way * rowwise(share, way)
        limit = rowwise(share * self.ball.norm(way), way)
        return state.x + way.clamp(-limit, limit)

    def _boundary(self, oracle: Decisions, state: Found) -> Tensor:
        """Bisect to a relative width of d^(-3/2) in L2, d^-2 in Linf; the side that wins is returned."""
        d, power = state.x[0].numel(), 1.5 if isinstance(self.ball, L2) else 2.0
        low = torch.zeros_like(state.x[:, 0, 0, 0])
        high = torch.ones_like(low)
        for _ in range(min(math.ceil(power * math.log2(d)), HALVINGS)):
            middle = (low + high) / 2
            won = oracle.decide(self._between(state, middle))
            low, high = torch.where(won, low, middle), torch.where(won, middle, high)
        return self._between(state, high).clamp(0, 1)

    def _direction(self, oracle: Decisions, state: Found, probe: Tensor, count: int, t: int) -> Tensor:
        """The estimate v_t at the edge, in the geometry of the norm."""
        edge = state.winner.flatten(1)
        b, d = edge.shape
        size = max(4, CHUNK // d)
        pull, drift = torch.zeros_like(edge), torch.zeros_like(edge)  # sums of phi u and of u
        votes = torch.zeros_like(probe)
        for start in range(0, count, size):
            n = min(size, count - start)
            signs = state.key.signs("directions", (n, d), t * 1_000_003 + start, edge.dtype)
            step = rowwise(probe / math.sqrt(d), signs)
            moved = torch.addcmul(edge[:, None], signs, step).clamp_(0, 1)
            rows = torch.arange(b, device=edge.device).repeat_interleave(n)
            won = oracle.decide(moved.view(-1, *state.x.shape[1:]), rows=rows).view(b, n)
            phi = won.to(edge.dtype) * 2 - 1
            moved -= edge[:, None]
            drift += moved.sum(1)
            pull += moved.mul_(phi[:, :, None]).sum(1)
            votes += phi.sum(1)
        mean = votes / count
        unanimous = (mean.abs() == 1)[:, None]
        estimate = torch.where(unanimous, mean[:, None] * drift, pull - mean[:, None] * drift)
        estimate = estimate.view_as(state.x)
        if isinstance(self.ball, Linf):
            return estimate.sign()
        return estimate / rowwise(estimate.flatten(1).norm(dim=1).clamp_min(tiny(estimate)), estimate)

    def _jump(self, oracle: Decisions, edge: Tensor, direction: Tensor, length: Tensor) -> Tensor:
        """Halve the jump until it wins; a row that never does stays on the edge, which wins."""
        winner, waiting = edge.clone(), torch.ones_like(length, dtype=torch.bool)
        for _ in range(HALVINGS):
            rows = (waiting & oracle.open()).nonzero().squeeze(1)
            if len(rows) == 0:
                break
            trial = (edge[rows] + direction[rows] * rowwise(length[rows], edge)).clamp_(0, 1)
            won = oracle.decide(trial, rows=rows)
            winner[rows[won]] = trial[won]
            waiting[rows[won]] = False
            length = length / 2
        return winner
