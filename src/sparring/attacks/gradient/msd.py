"""Multi steepest descent (Maini et al. 2020, arXiv:1909.04068, algorithm 1): one attack within several balls.

    delta_p     = Proj_p ( delta_t + step_size_p * steepest_p( grad L(x + delta_t) ) )        for every ball p
    delta_{t+1} = the delta_p of the highest loss, row by row

Steps and projections are those of the balls, in L1 along the top 1 % of coordinates, where the paper draws 5 to 20. A
step costs one gradient, and one forward pass per ball.

Departure: step sizes are 2.5 eps / steps in each norm. The authors' for MNIST, 0.01, 0.1 and 1 at eps 0.3, 2 and 10,
are as 1 : 1.5 : 3 in shares of eps, and rows then stay in the ball of the longest steps also where another is worse.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Attack, Batch, Gradients, PositiveFloat, PositiveInt
from ...errors import ConfigError
from ...geometry import Ball, Union, rowwise
from ...geometry.region import Region


@dataclass(frozen=True)
class MSDState:
    """The current iterate of each row: x (B, ...), inputs."""

    x: Tensor


@dataclass(frozen=True)
class MSD(Attack[Gradients, MSDState]):
    """Take, at every step, the step among several norms that raises the loss most.

    Args:
        balls: each with a finite eps; an example lies in one of them at least.
        steps: the number of gradient steps (50 in the paper's training).
        step_sizes: one per ball, in its norm (L0: in L1 norm); None: 2.5 * eps / steps for each.
        random_start: start in one of the balls, each as likely, uniformly in it; False: at the input.
    """

    balls: tuple[Ball, ...]
    steps: PositiveInt = 50
    step_sizes: tuple[PositiveFloat, ...] | None = None
    random_start: bool = False

    uses_region: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.step_sizes is not None and len(self.step_sizes) != len(self.balls):
            raise ConfigError(
                f"MSD step_sizes={self.step_sizes}; pass one step size for each of its {len(self.balls)} balls"
            )

    @property
    def ball(self) -> Union:
        return Union(self.balls)

    @property
    def accepts_start(self) -> bool:
        return True

    def init(self, oracle: Gradients, batch: Batch) -> MSDState:
        region = oracle.region
        if batch.start is not None:
            return MSDState(region.nearest_(batch.start.clone()))
        return MSDState(region.x + region.sample(oracle.key) if self.random_start else region.x)

    def step(self, oracle: Gradients, state: MSDState, t: int) -> MSDState:
        region, grad = oracle.region, oracle.gradient(state.x).grad
        best, best_loss = state.x, torch.full_like(region.eps, -torch.inf)
        step_sizes = self.step_sizes or tuple(2.5 * ball.eps / self.steps for ball in self.balls)
        for ball, step_size in zip(self.balls, step_sizes, strict=True):
            candidate = _member_region(region, ball).ascend_(grad.clone(), state.x, step_size * region.radius)
            loss = oracle.score(candidate).loss
            better = loss > best_loss
            best = torch.where(rowwise(better, candidate), candidate, best)
            best_loss = torch.where(better, loss, best_loss)
        return MSDState(best)

    def finish(self, oracle: Gradients, state: MSDState) -> None:
        oracle.score(state.x)


def _member_region(union: Region, ball: Ball) -> Region:
    """The region of one ball of the union; the union's radii are shares of the balls' own."""
    unscaled = isinstance(union.radius, float) and union.radius == 1
    eps = None if unscaled else union.eps * ball.eps
    return Region.around(union.x, ball, union.inputs, mask=union.free, eps=eps)
