"""Projected gradient descent (Madry et al. 2018, arXiv:1706.06083, section 2.1).

    x_{t+1} = Proj_{ball and box} ( x_t + step_size * steepest(grad L(x_t)) )

steepest is the sign in Linf, the unit gradient in L2 and the top 1 % of coordinates in L1 (Tramer & Boneh
2019); the projection onto ball and box is exact in each (L1: Croce & Hein 2021). The gradient is taken at
every iterate, and the last iterate is asked about too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from ...access import Attack, Batch, Gradients
from ...errors import ConfigError
from ...geometry import Ball, Region


@dataclass(frozen=True)
class Walk:
    """Where each row stands, and where it may go."""

    image: Tensor
    region: Region


@dataclass(frozen=True)
class PGD(Attack[Gradients, Walk]):
    """Projected gradient ascent from a random start.

    Args:
        ball: Linf, L2 or L1 with a finite eps.
        steps: gradient steps.
        step_size: in units of the norm; None: 2.5 * eps / steps, the rule of the authors' robustness library.
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

    def init(self, oracle: Gradients, batch: Batch) -> Walk:
        start = batch.x + self.ball.sample(batch.key, batch.x) if self.random_start else batch.x
        return Walk(start, self.ball.region(batch.x))

    def step(self, oracle: Gradients, state: Walk, t: int) -> Walk:
        uphill = oracle.gradient(state.image).grad
        return replace(state, image=self.ball.ascend_(uphill, state.image, self.rate, state.region))

    def finish(self, oracle: Gradients, state: Walk) -> None:
        oracle.score(state.image)
