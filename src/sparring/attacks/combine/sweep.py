"""Our own evaluation at a fixed radius: gradients and queries in turn, and no more passes where none can help.

A round is one of two kinds.
    ascent   a random start, 7 steps along a random direction of the outputs (output-diversified starts, Tashiro et
             al. 2020, arXiv:2003.06878), 20 steps that climb the margin with a cosine schedule from eps to 0
    search   100 queries of Square (Andriushchenko et al. 2020) from the best point of all rounds so far

Six rounds are a block: two ascents, a search, an ascent, two searches. At two places in a block, once the third round
and again the sixth has ended, a row is given up (Liu et al. 2022, arXiv:2203.05154, discard too) unless

    -best  <=  GAIN * (best - best after the first round)  +  SHARE * (best - margin of the image)

that is, unless another few rounds that bring what the last ones brought could win it. Margins of survivors lie far
from zero, those of rows that still fall close to it: AutoAttack spends most of its passes on the former.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from ...access import Attack, Batch, Gradients
from ...errors import ConfigError, ThreatError
from ...geometry import L0, Ball, Region, rowwise
from ...goals import Loss, Verdict
from ...random import Key
from ..score.square import DRAWS, proposal

BLOCK = "aasass"  # ascents and searches
FIRST_WINDOW, LAST_WINDOW = 0.3, 0.002  # shares of the image, within a search
GAIN, SHARE = 2.0, 0.1


@dataclass(frozen=True)
class Direction(Loss):
    """A random weighting of the outputs, uniform in [-1, 1], one per row: what diversifies a start."""

    key: Key
    step: int

    def take(self, rows: Tensor) -> Self:
        return replace(self, key=replace(self.key, ids=self.key.ids[rows]))

    def away(self, logits: Tensor, labels: Tensor) -> Tensor:
        weights = self.key.uniform("direction", logits.shape[1:], self.step, logits.dtype)
        return (logits * (2 * weights - 1)).sum(1)

    def toward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return self.away(logits, targets)


@dataclass(frozen=True)
class Front:
    """Where each row stands, its best point, and what is known of its chances."""

    x: Tensor
    image: Tensor  # of the ascent under way
    best: Tensor  # image
    margin: Tensor  # of the best
    clean: Tensor  # margin of the image itself
    early: Tensor  # best margin after the first round
    draws: Tensor  # (B, queries, DRAWS) of the search under way
    hopeless: Tensor
    key: Key
    region: Region


@dataclass(frozen=True)
class Sweep(Attack[Gradients, Front]):
    """The strongest answer that we know at a fixed radius for the fewest passes; no parameter to choose.

    Args:
        ball: Linf, L2 or L1 with a finite eps.
        blocks: of six rounds; a row that stays within reach takes all of them (465 passes each).
        diverse, climb: gradient steps of an ascent, along a random direction and up the margin.
        queries: of a search.
    """

    ball: Ball
    blocks: int = 4
    diverse: int = 7
    climb: int = 20
    queries: int = 100

    def __post_init__(self) -> None:
        self.ball.bounded(self.name)
        if isinstance(self.ball, L0):
            raise ThreatError(f"{self.name} knows Linf, L2 and L1, not {self.ball}; use PGD there")
        if min(self.blocks, self.climb, self.queries, self.diverse + 1) < 1:
            numbers = f"blocks={self.blocks}, diverse={self.diverse}, climb={self.climb}, queries={self.queries}"
            raise ConfigError(f"{self.name} {numbers}; pass at least 1, 0, 1 and 1")

    @property
    def steps(self) -> int:
        return self.blocks * sum(map(self._length, range(len(BLOCK))))

    def _length(self, number: int) -> int:
        """Steps of a round."""
        return self.diverse + self.climb if BLOCK[number % len(BLOCK)] == "a" else self.queries

    def _place(self, t: int) -> tuple[int, int]:
        """The round of step t, and the number of the step within it."""
        number = 0
        while t >= self._length(number):
            t -= self._length(number)
            number += 1
        return number, t

    def init(self, oracle: Gradients, batch: Batch) -> Front:
        x = batch.x
        clean = oracle.score(x).margin
        none = torch.full_like(clean, -torch.inf)
        return Front(
            x=x,
            image=x,
            best=x,
            margin=none,
            clean=clean,
            early=none,
            draws=batch.key.ids.new_zeros(len(x), self.queries, DRAWS),
            hopeless=torch.zeros_like(clean, dtype=torch.bool),
            key=batch.key,
            region=self.ball.region(x),
        )

    def step(self, oracle: Gradients, state: Front, t: int) -> Front:
        number, place = self._place(t)
        ask = self._ascend if BLOCK[number % len(BLOCK)] == "a" else self._search
        state = ask(oracle, state, number, place)
        if place + 1 < self._length(number):
            return state
        if number == 0:
            state = replace(state, early=state.margin)
        if number % len(BLOCK) in (2, 5):
            within = GAIN * (state.margin - state.early) + SHARE * (state.margin - state.clean)
            state = replace(state, hopeless=-state.margin > within)
        return state

    def _ascend(self, oracle: Gradients, state: Front, number: int, place: int) -> Front:
        if place == 0:
            start = state.x + self.ball.sample(state.key.reseeded(number), state.x)
            state = replace(state, image=start)
        if place < self.diverse:
            answer = oracle.gradient(state.image, steer=Direction(state.key, number))
            rate = self.ball.eps
        else:
            answer = oracle.gradient(state.image, objective=_margin)
            rate = self.ball.eps * (1 + math.cos(math.pi * (place - self.diverse) / self.climb)) / 2
            state = self._noted(state, state.image, answer.verdict.margin)
        image = self.ball.ascend_(answer.grad, state.image, rate, state.region)
        state = replace(state, image=image)
        if place + 1 < self.diverse + self.climb:
            return state
        return self._noted(state, image, oracle.score(image).margin)

    def _search(self, oracle: Gradients, state: Front, number: int, place: int) -> Front:
        if place == 0:
            state = replace(state, draws=state.key.integers("moves", (self.queries, DRAWS), 1 << 31, number))
        share = FIRST_WINDOW * (LAST_WINDOW / FIRST_WINDOW) ** (place / self.queries)
        trial = state.x + proposal(self.ball, state.x, state.best - state.x, state.draws[:, place], share)
        return self._noted(state, trial, oracle.score(trial).margin)

    @staticmethod
    def _noted(state: Front, images: Tensor, margin: Tensor) -> Front:
        better = margin > state.margin
        best = torch.where(rowwise(better, images), images, state.best)
        return replace(state, best=best, margin=torch.maximum(margin, state.margin))

    def done(self, state: Front) -> Tensor:
        return state.hopeless


def _margin(verdict: Verdict, images: Tensor) -> Tensor:
    return verdict.margin


def auto(ball: Ball) -> Sweep:
    """The evaluation to use where nothing else is asked for."""
    return Sweep(ball)
