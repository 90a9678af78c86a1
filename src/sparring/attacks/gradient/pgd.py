"""Projected gradient descent (Madry et al. 2018, arXiv:1706.06083, section 2.1).

    x_{t+1} = Proj_{ball and box} ( x_t + step_size * steepest(grad L(x_t)) )

steepest is the sign in Linf, the unit gradient in L2, the top 1 % of coordinates in L1 (Tramer & Boneh 2019) and
grad / |grad|_1 in L0 (Croce & Hein 2019, arXiv:1909.05040, PGD_0); the projection onto ball and box is exact in each
(L1: Croce & Hein 2021). The gradient is taken at every iterate, and the last iterate is asked about too.

Departure where pixels are chosen: the step falls on a cosine schedule, since with a constant one the choice swings to
the end and fewer rows fall. In L0 it goes from 0.4 to 0.04 of the number of components (0.15 of it with the authors),
in L1 from 10 eps / steps to a fiftieth of that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from ...access import Attack, Batch, Gradients
from ...errors import ConfigError
from ...geometry import L0, L1, Ball, Region

FIRST_L0, LAST_L0 = 0.4, 0.04  # steps in numbers of components
FIRST_L1, LAST_L1 = 10.0, 0.2  # in eps / steps


@dataclass(frozen=True)
class Walk:
    """Where each row stands, and where it may go."""

    image: Tensor
    region: Region


@dataclass(frozen=True)
class PGD(Attack[Gradients, Walk]):
    """Projected gradient ascent from a random start.

    Args:
        ball: Linf, L2, L1 or L0 with a finite eps.
        steps: gradient steps.
        step_size: in units of the norm, in L0 of the sum norm; None: 2.5 * eps / steps, the rule of the authors'
            robustness library, and in L1 and L0 the schedule above.
        random_start: begin at a point uniform in the ball.
    """

    ball: Ball
    steps: int = 40
    step_size: float | None = None
    random_start: bool = True

    def __post_init__(self) -> None:
        self.ball.bounded(self.name)
        if self.steps < 1 or (self.step_size is not None and not self.step_size > 0):
            raise ConfigError(f"{self.name} steps={self.steps}, step_size={self.step_size}; pass numbers above 0")

    @property
    def rate(self) -> float:
        return 2.5 * self.ball.eps / self.steps if self.step_size is None else self.step_size

    def rate_at(self, t: int, images: Tensor) -> float:
        """The size of step t."""
        if self.step_size is not None or self.steps == 1:
            return self.rate
        rest = (1 + math.cos(math.pi * t / self.steps)) / 2
        if isinstance(self.ball, L0):
            return images[0].numel() * (LAST_L0 + (FIRST_L0 - LAST_L0) * rest)
        if isinstance(self.ball, L1):
            return self.ball.eps / self.steps * (LAST_L1 + (FIRST_L1 - LAST_L1) * rest)
        return self.rate

    @property
    def warm(self) -> bool:
        return True

    def init(self, oracle: Gradients, batch: Batch) -> Walk:
        region = self.ball.region(batch.x)
        if batch.start is not None:
            return Walk(self.ball.nearest_(batch.start.clone(), region), region)
        start = batch.x + self.ball.sample(batch.key, batch.x) if self.random_start else batch.x
        return Walk(start, region)

    def step(self, oracle: Gradients, state: Walk, t: int) -> Walk:
        uphill = oracle.gradient(state.image).grad
        rate = self.rate_at(t, state.image)
        return Walk(self.ball.ascend_(uphill, state.image, rate, state.region), state.region)

    def finish(self, oracle: Gradients, state: Walk) -> None:
        oracle.score(state.image)
