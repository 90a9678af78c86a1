"""Our own evaluation at a fixed radius: gradients and queries in turn, and no more passes where none can help.

Rounds of five kinds, six to a block:
    t   from a random start, climb the lead of one rival class, the nearest first (MultiTargeted, Gowal et al. 2019,
        arXiv:1910.09338), with a cosine schedule of the step from 2 eps to 0
    a   from a random start, steps along a random direction of the outputs (output-diversified starts, Tashiro et al.
        2020, arXiv:2003.06878), then climb the margin from eps to 0
    p   from near the best point of all rounds, climb the margin with a quarter of those steps
    b   queries of Square (Andriushchenko et al. 2020, arXiv:1912.00049) from the best point
    s   the same from the end of the last climb
After the third and the sixth round of a block a row is given up (as in Liu et al. 2022, arXiv:2203.05154) unless

    -best  <=  GAIN * (best - best after the first round)  +  SHARE * (best - margin of the image)

that is, unless some more of what the rounds have brought could win it. The margins of rows that stand lie far below
zero, those of rows that still fall close to it; AutoAttack spends most of its passes on the former.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Attack, Batch, Gradient, Gradients, margin_objective
from ...errors import ConfigError
from ...geometry import L1, L2, Ball, Linf, rowwise
from ...goals import RandomDirection, RivalMargin
from ..score.square_proposal import DRAWS, propose

BLOCK = "ttbasp"
TOP = {"t": 2.0, "a": 1.0, "p": 0.25}  # the first step of a climb, over eps
NEAR = 0.25  # of the ball: how far from the best point p begins
RIVALS = 9
FIRST_WINDOW, LAST_WINDOW = 0.3, 0.002  # shares of the image, within a search
GAIN, SHARE = 3.0, 0.3


@dataclass(frozen=True)
class Front:
    """Where each row stands, its best point, and what is known of its chances."""

    image: Tensor  # of the round under way
    best: Tensor  # image
    margin: Tensor  # of the best
    here: Tensor  # margin of `image` in a search
    rivals: Tensor  # (B, k) nearest first
    clean: Tensor  # margin of the image itself
    early: Tensor  # best margin after the first round
    draws: Tensor  # (B, queries, DRAWS) of the search under way
    hopeless: Tensor


@dataclass(frozen=True)
class Sweep(Attack[Gradients, Front]):
    """Climbs and searches in turn at a fixed radius; `auto` says where it is enough by itself.

    Args:
        ball: Linf, L2 or L1 with a finite eps.
        blocks: of six rounds; a row that stays within reach takes all of them (378 passes each).
        diverse, climb: gradient steps of a round, along a random direction and uphill.
        queries: of a search.
    """

    ball: Ball
    blocks: int = 5
    diverse: int = 7
    climb: int = 20
    queries: int = 100

    norms: ClassVar[tuple[type[Ball], ...]] = (Linf, L2, L1)
    elsewhere: ClassVar[str] = "PGD"
    spends_radius: ClassVar[bool] = True
    regional: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.blocks, self.climb, self.queries, self.diverse + 1) < 1:
            numbers = f"blocks={self.blocks}, diverse={self.diverse}, climb={self.climb}, queries={self.queries}"
            raise ConfigError(f"{self.name} {numbers}; pass at least 1, 0, 1 and 1")

    @property
    def steps(self) -> int:
        return self.blocks * sum(map(self._length, range(len(BLOCK))))

    def _kind(self, number: int) -> str:
        return BLOCK[number % len(BLOCK)]

    def _length(self, number: int) -> int:
        """Steps of a round."""
        kind = self._kind(number)
        return self.queries if kind in "bs" else self.climb + self.diverse * (kind == "a")

    def _place(self, t: int) -> tuple[int, int]:
        """The round of step t, and the number of the step within it."""
        number = 0
        while t >= self._length(number):
            t -= self._length(number)
            number += 1
        return number, t

    def init(self, oracle: Gradients, batch: Batch) -> Front:
        x = oracle.region.x
        clean = oracle.score(x).margin
        none = torch.full_like(clean, -torch.inf)
        return Front(
            image=x,
            best=x,
            margin=none,
            here=none,
            clean=clean,
            rivals=oracle.rivals(x, RIVALS),
            early=none,
            draws=oracle.key.indices.new_zeros(len(x), self.queries, DRAWS),
            hopeless=torch.zeros_like(clean, dtype=torch.bool),
        )

    def step(self, oracle: Gradients, state: Front, t: int) -> Front:
        number, place = self._place(t)
        ask = self._search if self._kind(number) in "bs" else self._climb
        state = ask(oracle, state, number, place)
        if place + 1 < self._length(number):
            return state
        if number == 0:
            state = replace(state, early=state.margin)
        if number % len(BLOCK) in (2, 5):
            within = GAIN * (state.margin - state.early) + SHARE * (state.margin - state.clean)
            state = replace(state, hopeless=-state.margin > within)
        return state

    def _climb(self, oracle: Gradients, state: Front, number: int, place: int) -> Front:
        kind, region = self._kind(number), oracle.region
        if place == 0:
            noise = region.sample(oracle.key.reseeded(number))
            near = state.best + NEAR * noise if kind == "p" else region.x + noise
            state = replace(state, image=region.nearest_(near))
        climbed = place - self.diverse if kind == "a" else place
        if climbed < 0:
            answer, share = oracle.gradient(state.image, loss=RandomDirection(oracle.key, number)), 1.0
        else:
            answer = self._slope(oracle, state, number)
            share = TOP[kind] * (1 + math.cos(math.pi * climbed / self.climb)) / 2
        state = self._noted(state, state.image, answer.verdict.margin)
        image = region.ascend_(answer.grad, state.image, share * region.radius)
        state = replace(state, image=image)
        if place + 1 < self._length(number):
            return state
        margin = oracle.score(image).margin
        return self._noted(replace(state, here=margin), image, margin)

    def _slope(self, oracle: Gradients, state: Front, number: int) -> Gradient:
        if self._kind(number) != "t":
            return oracle.gradient(state.image, objective=margin_objective)
        earlier = sum(self._kind(i) == "t" for i in range(number))
        return oracle.gradient(state.image, loss=RivalMargin(state.rivals[:, earlier % state.rivals.shape[1]]))

    def _search(self, oracle: Gradients, state: Front, number: int, place: int) -> Front:
        region = oracle.region
        if place == 0:
            state = replace(state, draws=oracle.key.integers("moves", (self.queries, DRAWS), 1 << 31, number))
            if self._kind(number) == "b":
                state = replace(state, image=state.best, here=state.margin)
        share = FIRST_WINDOW * (LAST_WINDOW / FIRST_WINDOW) ** (place / self.queries)
        trial = region.x + propose(region, state.image - region.x, state.draws[:, place], share)
        margin = oracle.score(trial).margin
        better = margin > state.here
        image = torch.where(rowwise(better, trial), trial, state.image)
        state = replace(state, image=image, here=torch.maximum(margin, state.here))
        return self._noted(state, trial, margin)

    @staticmethod
    def _noted(state: Front, images: Tensor, margin: Tensor) -> Front:
        better = margin > state.margin
        best = torch.where(rowwise(better, images), images, state.best)
        return replace(state, best=best, margin=torch.maximum(margin, state.margin))

    def done(self, state: Front) -> Tensor:
        return state.hopeless
