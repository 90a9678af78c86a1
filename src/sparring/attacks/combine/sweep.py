"""Our own evaluation at a fixed radius: gradients and queries in turn, and few passes on rows that cannot be broken.

Blocks of six rounds, of five kinds:
    targeted     from a random start, ascend the margin of one rival class, the nearest first (MultiTargeted, Gowal et
                 al. 2019, arXiv:1910.09338), with a cosine schedule of the step size from 2 eps to 0
    diverse      from a random start, steps along a random direction of the outputs (output-diversified initialization,
                 Tashiro et al. 2020, arXiv:2003.06878), then ascend the margin, from eps to 0
    near best    from near the best point of all rounds, ascend the margin with a quarter of those step sizes
    search best  queries of Square (Andriushchenko et al. 2020, arXiv:1912.00049) from the best point
    search last  the same from the end of the last ascent
After the third and the sixth round of a block a row is given up (as in Liu et al. 2022, arXiv:2203.05154) unless

    -best  <=  GAIN * (best - best after the first round)  +  SHARE * (best - margin of the input)

that is, unless a few times the progress so far would break it. The margins of robust rows lie far below
zero, those of rows that still break close to it; AutoAttack spends most of its passes on the former.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Attack, Batch, Gradient, Gradients, NonNegativeInt, PositiveInt, margin_objective
from ...geometry import L1, L2, Ball, Linf, rowwise
from ...goals import RandomDirection, RivalMargin
from ..score.square_proposal import DRAWS, propose
from .sweep_schedule import BLOCK, DIVERSE, NEAR_BEST, SEARCH_BEST, SEARCHES, TARGETED, SweepSchedule

NEAR = 0.25  # of the ball: how far from the best point a near-best round begins
RIVALS = 9
FIRST_WINDOW, LAST_WINDOW = 0.3, 0.002  # shares of the image, within a search
GAIN, SHARE = 3.0, 0.3


@dataclass(frozen=True)
class SweepState:
    """The iterate of each row, its best point, and the margins that decide whether it is given up."""

    x: Tensor  # (B, ...) the iterate of the present round
    margin: Tensor  # (B,) of x, in a search
    best: Tensor  # (B, ...) the input of the highest margin
    best_margin: Tensor
    clean_margin: Tensor  # of the unperturbed input
    first_round_margin: Tensor  # the best after the first round
    rivals: Tensor  # (B, k) int64, nearest first
    draws: Tensor  # (B, n_queries, DRAWS) int64, of the present search
    given_up: Tensor  # (B,) bool


@dataclass(frozen=True)
class Sweep(Attack[Gradients, SweepState]):
    """Alternate gradient ascent and random search; `Auto` runs it alone or after other attacks, depending on the norm.

    Args:
        ball: Linf, L2 or L1 with a finite eps.
        blocks: of six rounds; a row that is not given up takes all of them (378 passes each).
        odi_steps: steps along a random direction of the outputs, in a diverse round.
        gradient_steps: gradient ascent steps of each gradient round.
        n_queries: queries in each search.
    """

    ball: Ball
    blocks: PositiveInt = 5
    odi_steps: NonNegativeInt = 7
    gradient_steps: PositiveInt = 20
    n_queries: PositiveInt = 100

    norms: ClassVar[tuple[type[Ball], ...]] = (Linf, L2, L1)
    alternative: ClassVar[str] = "PGD"
    spends_radius: ClassVar[bool] = True
    uses_region: ClassVar[bool] = True

    @property
    def begins_again(self) -> bool:
        return True

    @property
    def schedule(self) -> SweepSchedule:
        """The lengths of the rounds and the step sizes within them."""
        return SweepSchedule(self.odi_steps, self.gradient_steps, self.n_queries)

    @property
    def total_steps(self) -> int:
        return self.blocks * self.schedule.block_length

    def init(self, oracle: Gradients, batch: Batch) -> SweepState:
        x = oracle.region.x
        clean_margin = oracle.score(x).margin
        lowest = torch.full_like(clean_margin, -torch.inf)
        return SweepState(
            x=x,
            margin=lowest,
            best=x,
            best_margin=lowest,
            clean_margin=clean_margin,
            first_round_margin=lowest,
            rivals=oracle.rivals(x, RIVALS),
            draws=oracle.key.indices.new_zeros(len(x), self.n_queries, DRAWS),
            given_up=torch.zeros_like(clean_margin, dtype=torch.bool),
        )

    def step(self, oracle: Gradients, state: SweepState, t: int) -> SweepState:
        number, place = self.schedule.round_at(t)
        advance = self._search if BLOCK[number % len(BLOCK)] in SEARCHES else self._ascend
        state = advance(oracle, state, number, place)
        if place + 1 < self.schedule.length(number):
            return state
        if number == 0:
            state = replace(state, first_round_margin=state.best_margin)
        if number % len(BLOCK) in (2, 5):
            gained = state.best_margin - state.first_round_margin
            within = GAIN * gained + SHARE * (state.best_margin - state.clean_margin)
            state = replace(state, given_up=-state.best_margin > within)
        return state

    def _ascend(self, oracle: Gradients, state: SweepState, number: int, place: int) -> SweepState:
        """One gradient step, from a start of its own if it is the round's first."""
        kind, region = BLOCK[number % len(BLOCK)], oracle.region
        if place == 0:
            noise = region.sample(oracle.key.reseeded(number))
            start = state.best + NEAR * noise if kind == NEAR_BEST else region.x + noise
            state = replace(state, x=region.nearest_(start))
        if kind == DIVERSE and place < self.odi_steps:
            answer = oracle.gradient(state.x, loss=RandomDirection(oracle.key, number))
        else:
            answer = self._gradient(oracle, state, number)
        state = self._keep_best(state, state.x, answer.verdict.margin)
        x = region.ascend_(answer.grad, state.x, self.schedule.step_size(number, place) * region.radius)
        state = replace(state, x=x)
        if place + 1 < self.schedule.length(number):
            return state
        margin = oracle.score(x).margin
        return self._keep_best(replace(state, margin=margin), x, margin)

    def _gradient(self, oracle: Gradients, state: SweepState, number: int) -> Gradient:
        """The gradient of the margin, or of one rival's margin in a targeted round."""
        if BLOCK[number % len(BLOCK)] != TARGETED:
            return oracle.gradient(state.x, objective=margin_objective)
        earlier = sum(BLOCK[i % len(BLOCK)] == TARGETED for i in range(number))
        return oracle.gradient(state.x, loss=RivalMargin(state.rivals[:, earlier % state.rivals.shape[1]]))

    def _search(self, oracle: Gradients, state: SweepState, number: int, place: int) -> SweepState:
        """One query of Square, from the best point if it is the first of a search there."""
        region = oracle.region
        if place == 0:
            state = replace(state, draws=oracle.key.integers("moves", (self.n_queries, DRAWS), 1 << 31, number))
            if BLOCK[number % len(BLOCK)] == SEARCH_BEST:
                state = replace(state, x=state.best, margin=state.best_margin)
        share = FIRST_WINDOW * (LAST_WINDOW / FIRST_WINDOW) ** (place / self.n_queries)
        trial = region.x + propose(region, state.x - region.x, state.draws[:, place], share)
        margin = oracle.score(trial).margin
        x = torch.where(rowwise(margin > state.margin, trial), trial, state.x)
        state = replace(state, x=x, margin=torch.maximum(margin, state.margin))
        return self._keep_best(state, trial, margin)

    @staticmethod
    def _keep_best(state: SweepState, x: Tensor, margin: Tensor) -> SweepState:
        best = torch.where(rowwise(margin > state.best_margin, x), x, state.best)
        return replace(state, best=best, best_margin=torch.maximum(margin, state.best_margin))

    def done(self, state: SweepState) -> Tensor:
        return state.given_up
