"""NES (Ilyas, Engstrom, Athalye & Lin 2018, arXiv:1804.08598, algorithm 1): the query-limited attack.

    m_t = 0.9 m_{t-1} + 0.1 g_t,    x_{t+1} = Proj_{B(x, eps)} ( x_t + step_size * steepest(m_t) )

with g_t from antithetic Gaussian directions (`estimate_gradient`). As in the authors' code the step size is halved, row
by row, where the mean score of the queries is below that of four steps before, down to 1/200 of the first.

Departures: the margin is ascended, not the cross-entropy, whose differences can vanish; queries stay in the
ball (`estimate_gradient`), so iterates cost none; 20 queries to a step rather than 50 and steps twice as long, which
beat no fewer rows, and sooner, at equal queries on each net tried; L2 beside the paper's Linf.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Attack, Batch, PositiveFloat, PositiveInt, Scores
from ...geometry import L2, Ball, Linf, rowwise
from ...geometry.region import Region
from .gradient_estimate import SampleCount, check_even, estimate_gradient

MOMENTUM = 0.9
PLATEAU_LENGTH = 5  # steps compared
PLATEAU_DROP = 2.0
SMALLEST_STEP = 1 / 200  # of the first step size


@dataclass(frozen=True)
class NESState:
    """The iterate of each row, its momentum, and its latest scores."""

    image: Tensor  # (B, ...)
    momentum: Tensor  # (B, ...)
    step_size: Tensor  # (B,)
    recent: Tensor  # (B, PLATEAU_LENGTH) mean margins, oldest first; -inf: none yet


@dataclass(frozen=True)
class NES(Attack[Scores, NESState]):
    """Ascend the margin along estimated gradients, with momentum.

    Args:
        ball: Linf or L2 with a finite eps.
        steps: steps of `n_samples` queries each (500 of 20 make the authors' 10,000 queries).
        n_samples: queries per row and step, an even number (50 in the authors' code).
        sigma: the standard deviation of a query's pixels, in pixel values (0.001 in the authors' code).
        step_size: the first step, in units of the norm; None: eps / 2.5 (0.01 at eps 0.05 with the authors).

    Raises:
        ConfigError: for an odd number of samples.
    """

    ball: Ball
    steps: PositiveInt = 500
    n_samples: SampleCount = 20
    sigma: PositiveFloat = 1e-3
    step_size: PositiveFloat | None = None

    norms: ClassVar[tuple[type[Ball], ...]] = (Linf, L2)
    alternative: ClassVar[str] = "Square (L1) or PGD"
    spends_radius: ClassVar[bool] = True
    uses_region: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_even(self.name, self.n_samples)

    def _first_step_size(self, region: Region) -> Tensor:
        """Return the first step sizes (B,), in units of the norm."""
        return region.eps / 2.5 if self.step_size is None else torch.full_like(region.eps, self.step_size)

    def init(self, oracle: Scores, batch: Batch) -> NESState:
        region, x = oracle.region, oracle.region.x
        recent = x.new_full((len(x), PLATEAU_LENGTH), -torch.inf)
        return NESState(x, torch.zeros_like(x), self._first_step_size(region), recent)

    def step(self, oracle: Scores, state: NESState, t: int) -> NESState:
        region, h = oracle.region, self.sigma * oracle.region.inputs.scale
        estimate = estimate_gradient(oracle, state.image, oracle.key.normal, self.n_samples, h, t)
        momentum = torch.lerp(estimate.grad, state.momentum, MOMENTUM)
        recent = torch.cat((state.recent[:, 1:], estimate.margin[:, None]), 1)
        stalled = recent[:, -1] < recent[:, 0]
        slower = torch.maximum(state.step_size / PLATEAU_DROP, SMALLEST_STEP * self._first_step_size(region))
        step_size = torch.where(stalled, slower, state.step_size)
        moved = region.steepest(momentum).mul_(rowwise(step_size, momentum)).add_(state.image)
        recent = recent.masked_fill(stalled[:, None], -torch.inf)
        return NESState(region.nearest_(moved), momentum, step_size, recent)

    def finish(self, oracle: Scores, state: NESState) -> None:
        oracle.score(state.image)
