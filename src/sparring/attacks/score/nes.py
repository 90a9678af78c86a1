"""NES (Ilyas, Engstrom, Athalye & Lin 2018, arXiv:1804.08598, algorithm 1): the query-limited attack.

    m_t = 0.9 m_{t-1} + 0.1 g_t,    x_{t+1} = Proj_{B(x, eps)} ( x_t + rate * steepest(m_t) )

with g_t from antithetic Gaussian directions (`slope`). As in the authors' code the rate is halved, row by row, where
the mean score of the probes is below that of four steps before, down to 1/200 of the first.

Departures: the margin is climbed, not the cross-entropy, whose differences vanish where it is flat; probes stay in the
ball (`slope`), so iterates cost no query; 20 queries to a step rather than 50 and steps twice as long, which fell no
fewer rows, and sooner, at equal queries on each net tried; L2 beside the paper's Linf.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Attack, Batch, Scores
from ...geometry import L2, Ball, Linf, rowwise
from ...geometry.region import Region
from .slope import check, slope

MOMENTUM = 0.9
PLATEAU = 5  # steps compared
DROP = 2.0
LEAST = 1 / 200  # of the first rate


@dataclass(frozen=True)
class Drift:
    """Where each row stands, its momentum, and how it has fared of late."""

    image: Tensor
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

    norms: ClassVar[tuple[type[Ball], ...]] = (Linf, L2)
    elsewhere: ClassVar[str] = "Square (L1) or PGD"
    spends_radius: ClassVar[bool] = True
    regional: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.name, steps=self.steps, samples=self.samples, probe=self.probe, step_size=self.step_size)

    def rate(self, region: Region) -> Tensor:
        """(B,) the first rate."""
        return region.eps / 2.5 if self.step_size is None else torch.full_like(region.eps, self.step_size)

    def init(self, oracle: Scores, batch: Batch) -> Drift:
        region, x = oracle.region, oracle.region.x
        recent = x.new_full((len(x), PLATEAU), -torch.inf)
        return Drift(x, torch.zeros_like(x), self.rate(region), recent)

    def step(self, oracle: Scores, state: Drift, t: int) -> Drift:
        region = oracle.region
        seen = slope(oracle, state.image, oracle.key.normal, self.samples, self.probe * region.inputs.scale, t)
        momentum = torch.lerp(seen.grad, state.momentum, MOMENTUM)
        recent = torch.cat((state.recent[:, 1:], seen.margin[:, None]), 1)
        stalled = recent[:, -1] < recent[:, 0]
        slower = torch.maximum(state.rate / DROP, LEAST * self.rate(region))
        rate = torch.where(stalled, slower, state.rate)
        moved = region.steepest(momentum).mul_(rowwise(rate, momentum)).add_(state.image)
        return Drift(region.nearest_(moved), momentum, rate, recent.masked_fill(stalled[:, None], -torch.inf))

    def finish(self, oracle: Scores, state: Drift) -> None:
        oracle.score(state.image)
