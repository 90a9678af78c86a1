"""Projected gradient descent (Madry et al. 2018, arXiv:1706.06083, section 2.1).

    x_{t+1} = Proj_{ball and range} ( x_t + step_size * steepest(grad L(x_t)) )

steepest is the sign in Linf, the unit gradient in L2, the top 1 % of coordinates in L1 (Tramer & Boneh 2019,
arXiv:1904.13000) and grad / |grad|_1 in L0 (Croce & Hein 2019, arXiv:1909.05040, PGD_0); the projection onto ball and
range is exact in each (L1: Croce & Hein 2021, arXiv:2103.01208). The last iterate is asked about too.

Departure: in L1 and L0 the default step size falls on a cosine schedule (`cosine_schedule.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ...access import Attack, Batch, Gradients, PositiveFloat, PositiveInt
from ...geometry import Ball
from ...geometry.ball import Radius
from ...geometry.region import Region
from .cosine_schedule import sparse_step_size


@dataclass(frozen=True)
class PGDState:
    """The current iterate of each row: x (B, ...), inputs."""

    x: Tensor


@dataclass(frozen=True)
class PGD(Attack[Gradients, PGDState]):
    """Ascend the loss by steepest steps, each projected onto the ball, from a random start.

    Args:
        ball: Linf, L2, L1 or L0 with a finite eps.
        steps: the number of gradient steps (40 in the paper's MNIST experiments).
        step_size: the length of a step in the ball's norm, in L0 in L1 norm. None: 2.5 * eps / steps, the rule of the
            authors' robustness library, and in L1 and L0 the cosine schedule.
        random_start: start at a point uniform in the ball; False: at the input.
    """

    ball: Ball
    steps: PositiveInt = 40
    step_size: PositiveFloat | None = None
    random_start: bool = True

    spends_radius: ClassVar[bool] = True
    uses_region: ClassVar[bool] = True

    def default_step_size(self, region: Region) -> Radius:
        """Return the step size where none is given and it is constant: one number, or (B,) if the radii differ."""
        return 2.5 * region.radius / self.steps

    def step_size_at(self, t: int, region: Region) -> Radius:
        """Return the size of step t: one number, or (B,)."""
        if self.step_size is not None:
            return self.step_size
        if region.ball.sparse and self.steps > 1:
            return sparse_step_size(t, self.steps, region)
        return self.default_step_size(region)

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
        return PGDState(oracle.region.ascend_(grad, state.x, self.step_size_at(t, oracle.region)))

    def finish(self, oracle: Gradients, state: PGDState) -> None:
        oracle.score(state.x)
