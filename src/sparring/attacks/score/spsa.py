"""SPSA (Uesato, O'Donoghue, van den Oord & Kohli 2018, arXiv:1802.05666, algorithm 1).

    x_{t+1} = Proj_{B(x, eps)} ( x_t + rate * Adam(g_t) )

with g_t from pairs of probes at x_t +- probe * v, v of random signs (`slope`), and the margin as the score.

Departures: probes stay in the ball (`slope`), so iterates cost no query; 20 queries to a step where the paper takes
256 to 8192, which fell more rows at equal queries on each net tried; in L2, beside the paper's Linf, Adam's step is
divided by the root of the number of components.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...access import Attack, Batch, Scores
from ...geometry import Ball, Linf, Region, tiny
from ...random import Key
from .slope import check, slope

BETAS = 0.9, 0.999


@dataclass(frozen=True)
class Climb:
    """Where each row stands, and Adam's two moments."""

    image: Tensor
    region: Region
    key: Key
    first: Tensor
    second: Tensor


@dataclass(frozen=True)
class SPSA(Attack[Scores, Climb]):
    """Adam on gradients estimated along random signs.

    Args:
        ball: Linf or L2 with a finite eps.
        steps: steps of `samples` queries each (the paper: 100).
        samples: queries per row and step, an even number.
        probe: how far each pixel of a probe is moved (delta, 0.01).
        step_size: Adam's rate, in units of the norm; None: eps / 3 (the paper: 0.01 at eps 8/255).
    """

    ball: Ball
    steps: int = 500
    samples: int = 20
    probe: float = 0.01
    step_size: float | None = None

    def __post_init__(self) -> None:
        check(self.name, self.ball, steps=self.steps, samples=self.samples, probe=self.probe, step_size=self.step_size)

    @property
    def rate(self) -> float:
        return self.ball.eps / 3 if self.step_size is None else self.step_size

    def init(self, oracle: Scores, batch: Batch) -> Climb:
        x = batch.x
        return Climb(x, self.ball.region(x), batch.key, torch.zeros_like(x), torch.zeros_like(x))

    def step(self, oracle: Scores, state: Climb, t: int) -> Climb:
        draw, ball = state.key.signs, self.ball
        grad = slope(oracle, ball, state.region, state.image, draw, self.samples, self.probe, t).grad
        first = torch.lerp(grad, state.first, BETAS[0])
        second = torch.lerp(grad.square(), state.second, BETAS[1])
        scale = (second / (1 - BETAS[1] ** (t + 1))).sqrt_().clamp_min_(tiny(grad))
        rate = self.rate / (1 - BETAS[0] ** (t + 1))
        rate = rate if isinstance(ball, Linf) else rate / math.sqrt(grad[0].numel())
        image = ball.nearest_((first / scale).mul_(rate).add_(state.image), state.region)
        return replace(state, image=image, first=first, second=second)

    def finish(self, oracle: Scores, state: Climb) -> None:
        oracle.score(state.image)
