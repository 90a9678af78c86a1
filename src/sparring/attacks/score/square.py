"""Square Attack (Andriushchenko et al. 2020, arXiv:1912.00049, algorithms 1 to 3).

Random search over square windows, a query at a time: keep a change where the margin grows. Linf starts from
vertical stripes and paints a window with eps or -eps per channel (algorithm 2). L2 starts from a grid of
tiles and moves the norm of one window, plus what is left of the budget, into another (algorithm 3); L1 does the
same with its own norm (Croce & Hein 2021, arXiv:2103.01208, section 4).

The window covers a share p of the image that halves at 10, 50, 200, 500, 1000, 2000, 4000, 6000 and 8000 of
10,000 queries, scaled to the attack's own number of queries.

Departures: windows and signs are drawn per row, not once per batch; the margin is climbed for every goal.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Attack, Batch, Scores
from ...errors import ConfigError
from ...geometry import L1, L2, Ball, Linf, rowwise
from .windows import DRAWS, first, proposal

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # of 10,000
BLOCK = 64  # steps whose draws are made at once


@dataclass(frozen=True)
class Board:
    """The best perturbation of each row so far, and the draws of the next steps."""

    delta: Tensor
    margin: Tensor
    draws: Tensor  # (B, BLOCK, DRAWS) int64


@dataclass(frozen=True)
class Square(Attack[Scores, Board]):
    """Score-based random search.

    Args:
        ball: Linf, L2 or L1 with a finite eps.
        steps: queries per row.
        share: the first window's share of the image (the paper: 0.05 for Linf and 0.1 for L2; AutoAttack: 0.8).
        horizon: queries that the schedule of window sizes is laid out for; None: `steps` (AutoAttack: 10,000).
    """

    ball: Ball
    steps: int = 5000
    share: float = 0.8
    horizon: int | None = None

    norms: ClassVar[tuple[type[Ball], ...]] = (Linf, L2, L1)
    elsewhere: ClassVar[str] = "PGD"
    spends_radius: ClassVar[bool] = True
    regional: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.share <= 1 or self.steps < 1 or (self.horizon is not None and self.horizon < 1):
            numbers = f"share={self.share}, steps={self.steps}, horizon={self.horizon}"
            raise ConfigError(f"Square {numbers}; pass a share in (0, 1] and steps and horizon >= 1")

    @property
    def accepts_start(self) -> bool:
        return True

    def init(self, oracle: Scores, batch: Batch) -> Board:
        region, key = oracle.region, oracle.key
        delta = first(key, region) if batch.start is None else region.project(batch.start - region.x)
        margin = oracle.score(region.x + delta).margin
        return Board(delta, margin, key.integers("moves", (BLOCK, DRAWS), 1 << 31, 0))

    def step(self, oracle: Scores, state: Board, t: int) -> Board:
        if t == 0:
            return state  # the start was the first query
        if t % BLOCK == 0:
            state = replace(state, draws=oracle.key.integers("moves", (BLOCK, DRAWS), 1 << 31, t))
        trial = proposal(oracle.region, state.delta, state.draws[:, t % BLOCK], self._share(t))
        margin = oracle.score(oracle.region.x + trial).margin
        better = margin > state.margin
        delta = torch.where(rowwise(better, trial), trial, state.delta)
        return replace(state, delta=delta, margin=torch.where(better, margin, state.margin))

    def _share(self, t: int) -> float:
        scaled = t / (self.horizon or self.steps) * 10_000
        return self.share / (1 << sum(scaled > mark for mark in HALVINGS))
