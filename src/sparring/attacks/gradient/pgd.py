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
from typing import ClassVar

from torch import Tensor

from ...access import Attack, Batch, Gradients
from ...errors import ConfigError
from ...geometry import Ball
from ...geometry.ball import Radius
from ...geometry.region import Region

FIRST_L0, LAST_L0 = 0.4, 0.04  # steps in numbers of components
FIRST_L1, LAST_L1 = 10.0, 0.2  # in eps / steps


@dataclass(frozen=True)
class PGDState:
    """The input (B, ...) at which each row stands."""

    x: Tensor


@dataclass(frozen=True)
class PGD(Attack[Gradients, PGDState]):
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

    spends_radius: ClassVar[bool] = True
    regional: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1 or (self.step_size is not None and not self.step_size > 0):
            raise ConfigError(f"{self.name} steps={self.steps}, step_size={self.step_size}; pass numbers above 0")

    def rate(self, region: Region) -> Radius:
        """The size of a step where it is the same at all times: one number, or (B,)."""
        return 2.5 * region.radius / self.steps if self.step_size is None else self.step_size

    def rate_at(self, t: int, region: Region) -> Radius:
        """The size of step t: one number, or (B,)."""
        if self.step_size is not None or self.steps == 1 or not region.ball.sparse:
            return self.rate(region)
        rest = (1 + math.cos(math.pi * t / self.steps)) / 2
        if region.ball.p == 0:
            return region.dimension * (LAST_L0 + (FIRST_L0 - LAST_L0) * rest)
        return region.radius / self.steps * (LAST_L1 + (FIRST_L1 - LAST_L1) * rest)

    @property
    def accepts_start(self) -> bool:
        return True

    def init(self, oracle: Gradients, batch: Batch) -> PGDState:
        region = oracle.region
        if batch.start is not None:
            return PGDState(region.nearest_(batch.start.clone()))
        return PGDState(region.x + region.sample(oracle.key) if self.random_start else region.x)

    def step(self, oracle: Gradients, state: PGDState, t: int) -> PGDState:
        grad = oracle.gradient(state.x).grad
        return PGDState(oracle.region.ascend_(grad, state.x, self.rate_at(t, oracle.region)))

    def finish(self, oracle: Gradients, state: PGDState) -> None:
        oracle.score(state.x)
