"""Multi steepest descent (Maini et al. 2020, arXiv:1909.04068, algorithm 1): one attack within several balls.

    delta_p     = Proj_p ( delta_t + step_p * steepest_p( grad L(x + delta_t) ) )        for every ball p
    delta_{t+1} = the delta_p of the highest loss, row by row

Departure: steps are PGD's in each ball (top 1 % of coordinates in L1, on a falling schedule), where the paper has a
constant step per norm and draws 5 to 20 coordinates. A step costs one gradient, and one forward pass per ball.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...access import Attack, Batch, Gradients
from ...errors import ConfigError
from ...geometry import Ball, Union, rowwise
from .pgd import PGD


@dataclass(frozen=True)
class Chosen:
    """The images, and where each row stands."""

    x: Tensor
    image: Tensor


@dataclass(frozen=True)
class MSD(Attack[Gradients, Chosen]):
    """The worst of several norms at every step.

    Args:
        balls: each with a finite eps; an example lies in one of them at least.
        steps: gradient steps (50 for CIFAR-10 and 100 for MNIST in the paper).
        step_sizes: one per ball in units of its norm, None for PGD's own; None: PGD's own for all.
        random_start: begin in one of the balls, each as likely, uniformly in it; else at the image.
    """

    balls: tuple[Ball, ...]
    steps: int = 50
    step_sizes: tuple[float | None, ...] | None = None
    random_start: bool = False

    def __post_init__(self) -> None:
        if len(self.step_sizes or self.balls) != len(self.ball.balls):
            raise ConfigError(f"MSD step_sizes={self.step_sizes} for {len(self.balls)} balls; pass one for each")
        _ = self.walks  # which check what they are given

    @property
    def ball(self) -> Union:
        return Union(self.balls)

    @property
    def walks(self) -> tuple[PGD, ...]:
        """PGD in each ball, which knows its steps."""
        sizes = self.step_sizes or (None,) * len(self.balls)
        return tuple(PGD(ball, self.steps, size) for ball, size in zip(self.balls, sizes, strict=True))

    @property
    def warm(self) -> bool:
        return True

    def init(self, oracle: Gradients, batch: Batch) -> Chosen:
        x = batch.x
        if batch.start is not None:
            return Chosen(x, self.ball.nearest_(batch.start.clone(), self.ball.region(x)))
        return Chosen(x, x + self.ball.sample(batch.key, x) if self.random_start else x)

    def step(self, oracle: Gradients, state: Chosen, t: int) -> Chosen:
        uphill = oracle.gradient(state.image).grad
        chosen, highest = state.image, torch.full_like(state.image[:, 0, 0, 0], -torch.inf)
        for walk in self.walks:
            rate, region = walk.rate_at(t, state.image), walk.ball.region(state.x)
            moved = walk.ball.ascend_(uphill.clone(), state.image, rate, region)
            loss = oracle.score(moved).loss
            better = loss > highest
            chosen = torch.where(rowwise(better, moved), moved, chosen)
            highest = torch.where(better, loss, highest)
        return replace(state, image=chosen)

    def finish(self, oracle: Gradients, state: Chosen) -> None:
        oracle.score(state.image)
