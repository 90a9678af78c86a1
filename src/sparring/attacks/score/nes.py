"""NES (Ilyas, Engstrom, Athalye & Lin 2018, arXiv:1804.08598, algorithm 1): the query-limited attack.

    m_t = 0.9 m_{t-1} + 0.1 g_t,    x_{t+1} = Proj_{B(x, eps)} ( x_t + rate * steepest(m_t) )

with g_t from antithetic Gaussian directions (`slope`). As in the authors' code the rate is halved, row by row, where
the mean score of the probes is below that of four steps before, down to 1/200 of the first.

Departures: the margin is climbed, not the cross-entropy, whose differences vanish where it is flat; probes stay in the
ball (`slope`), so iterates cost no query; 20 queries to a step rather than 50 and steps twice as long, which fell no
fewer rows, and sooner, at equal queries on each net tried; L2 beside the paper's Linf.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...access import Attack, Batch, Scores
from ...geometry import Ball, Region, rowwise
from ...random import Key
from .slope import check, slope

MOMENTUM = 0.9
PLATEAU = 5  # steps compared
DROP = 2.0
LEAST = 1 / 200  # of the first rate


@dataclass(frozen=True)
class Drift:
    """Where each row stands, its momentum, and how it has fared of late."""

    image: Tensor
    region: Region
    key: Key
    momentum: Tensor
    rate: Tensor  # (B,)
    recent: Tensor  # (B, PLATEAU) mean margins, oldest first; -inf: none yet


@dataclass(frozen=True)
class NES(Attack[Scores, Drift]):
    """Ascent by estimated gradients, with momentum.

    Args:
        ball: Linf or L2 with a finite eps.
        steps: steps of `samples` queries each (500 of 20 make the authors' 10,000 queries).
        samples: queries per row and step, an even number (50 in the authors' code).
        probe: standard deviation of a probe's pixels (sigma, 0.001).
        step_size: the first rate, in units of the norm; None: eps / 2.5 (0.01 at eps 0.05 with the authors).
    """

    ball: Ball
    steps: int = 500
    samples: int = 20
    probe: float = 1e-3
    step_size: float | None = None

    def __post_init__(self) -> None:
        check(self.name, self.ball, steps=self.steps, samples=self.samples, probe=self.probe, step_size=self.step_size)

    @property
    def rate(self) -> float:
        return self.ball.eps / 2.5 if self.step_size is None else self.step_size

    def init(self, oracle: Scores, batch: Batch) -> Drift:
        x = batch.x
        recent = x.new_full((len(x), PLATEAU), -torch.inf)
        return Drift(
            x, self.ball.region(x), batch.key, torch.zeros_like(x), torch.full_like(recent[:, 0], self.rate), recent
        )

    def step(self, oracle: Scores, state: Drift, t: int) -> Drift:
        seen = slope(oracle, self.ball, state.region, state.image, state.key.normal, self.samples, self.probe, t)
        momentum = torch.lerp(seen.grad, state.momentum, MOMENTUM)
        recent = torch.cat((state.recent[:, 1:], seen.margin[:, None]), 1)
        stalled = recent[:, -1] < recent[:, 0]
        rate = torch.where(stalled, (state.rate / DROP).clamp_min(LEAST * self.rate), state.rate)
        moved = self.ball.steepest(momentum).mul_(rowwise(rate, momentum)).add_(state.image)
        image = self.ball.nearest_(moved, state.region)
        recent = recent.masked_fill(stalled[:, None], -torch.inf)
        return replace(state, image=image, momentum=momentum, rate=rate, recent=recent)

    def finish(self, oracle: Scores, state: Drift) -> None:
        oracle.score(state.image)
