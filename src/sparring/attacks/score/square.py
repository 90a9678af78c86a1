"""Square Attack (Andriushchenko et al. 2020, arXiv:1912.00049, algorithms 1 to 3).

Random search over square windows, a query at a time: keep a change where the margin grows. Linf starts from vertical
stripes and sets a window to eps or -eps per channel (algorithm 2). L2 starts from a grid of tiles and moves the norm of
one window, plus what is left of the budget, into another (algorithm 3); L1 does the same with its own norm (Croce &
Hein 2021, arXiv:2103.01208, section 4).

The window covers a share p of the image that halves at 10, 50, 200, 500, 1000, 2000, 4000, 6000 and 8000 of 10,000
queries, scaled to the attack's own number of queries.

Departures: windows and signs are drawn per row, not once per batch; the margin is climbed for every goal; a change
that leaves the margin as it is is kept too. Where a service rounds its answers most changes tie, and none of them would
be kept; kept, they add up to one that counts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Attack, Batch, PositiveFraction, PositiveInt, Scores
from ...geometry import L1, L2, Ball, Linf, rowwise
from .square_proposal import DRAWS, propose
from .square_start import initial_perturbation

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # of SCHEDULE_LENGTH
SCHEDULE_LENGTH = 10_000
BLOCK = 64  # steps whose draws are made at once
TIE = 32  # units in the last place by which margins may differ that are the same


@dataclass(frozen=True)
class SquareState:
    """The best perturbation of each row so far, and the draws of the next steps."""

    delta: Tensor  # (B, ...)
    margin: Tensor  # (B,)
    draws: Tensor  # (B, BLOCK, DRAWS) int64


@dataclass(frozen=True)
class Square(Attack[Scores, SquareState]):
    """Search at random over square windows, by scores.

    Args:
        ball: Linf, L2 or L1 with a finite eps.
        n_queries: queries per row.
        p_init: the first window's share of the image (0.05 for Linf and 0.1 for L2 in the paper, 0.8 in AutoAttack).
        schedule_queries: the queries that the schedule of window sizes is laid out for; None: `n_queries` (10,000 in
            AutoAttack).
    """

    ball: Ball
    n_queries: PositiveInt = 5000
    p_init: PositiveFraction = 0.8
    schedule_queries: PositiveInt | None = None

    norms: ClassVar[tuple[type[Ball], ...]] = (Linf, L2, L1)
    alternative: ClassVar[str] = "PGD"
    spends_radius: ClassVar[bool] = True
    uses_region: ClassVar[bool] = True

    @property
    def total_steps(self) -> int:
        return self.n_queries

    @property
    def accepts_start(self) -> bool:
        return True

    def init(self, oracle: Scores, batch: Batch) -> SquareState:
        region, key = oracle.region, oracle.key
        delta = initial_perturbation(key, region) if batch.start is None else region.project(batch.start - region.x)
        margin = oracle.score(region.x + delta).margin
        return SquareState(delta, margin, key.integers("moves", (BLOCK, DRAWS), 1 << 31, 0))

    def step(self, oracle: Scores, state: SquareState, t: int) -> SquareState:
        if t == 0:
            return state  # the start was the first query
        if t % BLOCK == 0:
            state = replace(state, draws=oracle.key.integers("moves", (BLOCK, DRAWS), 1 << 31, t))
        trial = propose(oracle.region, state.delta, state.draws[:, t % BLOCK], self._p(t))
        margin = oracle.score(oracle.region.x + trial).margin
        rounding = TIE * torch.finfo(margin.dtype).eps * (1 + state.margin.abs())
        better = margin >= state.margin - rounding
        delta = torch.where(rowwise(better, trial), trial, state.delta)
        return replace(state, delta=delta, margin=torch.maximum(margin, state.margin))

    def _p(self, t: int) -> float:
        """The share of the image that the window of step t covers."""
        scaled = t / (self.schedule_queries or self.n_queries) * SCHEDULE_LENGTH
        return self.p_init / (1 << sum(scaled > mark for mark in HALVINGS))
