"""Multi steepest descent (Maini et al. 2020, arXiv:1909.04068, algorithm 1): one attack within several balls.

    delta_p     = Proj_p ( delta_t + step_p * steepest_p( grad L(x + delta_t) ) )        for every ball p
    delta_{t+1} = the delta_p of the highest loss, row by row

Steps and projections are those of the balls, in L1 along the top 1 % of coordinates, where the paper draws 5 to 20. A
step costs one gradient, and one forward pass per ball.

Departure: steps are 2.5 eps / steps in each norm. The authors' for MNIST, 0.01, 0.1 and 1 at eps 0.3, 2 and 10, are as
1 : 1.5 : 3 in shares of eps, and rows then stay in the ball of the longest steps also where another is worse.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Attack, Batch, Gradients
from ...errors import ConfigError
from ...geometry import Ball, Union, rowwise
from ...geometry.region import Region


@dataclass(frozen=True)
class Chosen:
    """The input (B, ...) at which each row stands."""

    x: Tensor


@dataclass(frozen=True)
class MSD(Attack[Gradients, Chosen]):
    """The worst of several norms at every step.

    Args:
        balls: each with a finite eps; an example lies in one of them at least.
        steps: gradient steps.
        step_sizes: one per ball, in units of its norm (L0: of the sum norm); None: 2.5 * eps / steps for each.
        random_start: begin in one of the balls, each as likely, uniformly in it; else at the image.
    """

    balls: tuple[Ball, ...]
    steps: int = 50
    step_sizes: tuple[float, ...] | None = None
    random_start: bool = False

    regional: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _ = self.ball  # which checks the balls
        if self.steps < 1 or len(self.rates) != len(self.balls) or not all(rate > 0 for rate in self.rates):
            raise ConfigError(
                f"MSD steps={self.steps}, step_sizes={self.step_sizes}; pass numbers above 0, one step size for each "
                f"of its {len(self.balls)} balls"
            )

    @property
    def ball(self) -> Union:
        return Union(self.balls)

    @property
    def rates(self) -> tuple[float, ...]:
        """The size of a step in each ball."""
        if self.step_sizes is not None:
            return self.step_sizes
        return tuple(2.5 * ball.eps / max(1, self.steps) for ball in self.balls)

    @property
    def accepts_start(self) -> bool:
        return True

    def init(self, oracle: Gradients, batch: Batch) -> Chosen:
        region = oracle.region
        if batch.start is not None:
            return Chosen(region.nearest_(batch.start.clone()))
        return Chosen(region.x + region.sample(oracle.key) if self.random_start else region.x)

    def step(self, oracle: Gradients, state: Chosen, t: int) -> Chosen:
        region, uphill = oracle.region, oracle.gradient(state.x).grad
        chosen, highest = state.x, torch.full_like(region.eps, -torch.inf)
        for ball, rate in zip(self.balls, self.rates, strict=True):
            member = _member(region, ball)
            moved = member.ascend_(uphill.clone(), state.x, rate * region.radius)
            loss = oracle.score(moved).loss
            better = loss > highest
            chosen = torch.where(rowwise(better, moved), moved, chosen)
            highest = torch.where(better, loss, highest)
        return Chosen(chosen)

    def finish(self, oracle: Gradients, state: Chosen) -> None:
        oracle.score(state.x)


def _member(union: Region, ball: Ball) -> Region:
    """The region of one ball of the union, whose radii are shares of those of its balls."""
    alike = isinstance(union.radius, float) and union.radius == 1
    eps = None if alike else union.eps * ball.eps
    return Region.around(union.x, ball, union.inputs, mask=union.free, eps=eps)
