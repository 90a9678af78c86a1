"""Orthogonal projected gradient descent (Bryniarski et al. 2021, arXiv:2106.15023): past a classifier and a detector.

With a and b the gradients at x_t of the classifier's margin and of the detector's (minus its alarm):

    d_t     = a - proj_b(a)  where the image is not yet misclassified, else  b - proj_a(b)     (orthogonal)
    d_t     = a              where the image is not yet misclassified, else  b                 (selective)
    x_{t+1} = Proj_{ball and box} ( x_t + step_size * steepest(d_t) )

proj_b(a) = <a, b> b / <b, b>: to first order a step for one loss leaves the other unchanged, so no weight between them
has to be found. A step asks for both gradients. As in the authors' code the steepest direction is taken after the
projection (the sign, in Linf), and is no longer orthogonal.

Departures: the loss is the goal's own margin, whose sign says which rows are misclassified; the start may be random;
step sizes are 2.5 eps / steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Attack, Batch, Gradients, NonNegativeFloat, PositiveFloat, PositiveInt
from ...errors import GoalError
from ...geometry import Ball, rowwise
from ...goals import ClimbDetector, ClimbTask, Goal, Margin, Undetected
from .pgd import PGD, PGDState


@dataclass(frozen=True)
class OrthogonalPGD(Attack[Gradients, PGDState]):
    """Search for examples that are misclassified and not detected, a step for either at a time.

    Args:
        ball: Linf, L2 or L1 with a finite eps.
        steps: the number of steps, each of two gradients.
        step_size: in the ball's norm; None: 2.5 * eps / steps.
        orthogonal: make the gradient of one loss orthogonal to that of the other; False: the selective variant.
        misclassified_margin: the margin from which an image counts as misclassified (0.05 in the authors' code).
        random_start: start at a point uniform in the ball; False: at the input.

    Raises GoalError on a target without a detector; one with a detector makes `Undetected` of any goal.
    """

    ball: Ball
    steps: PositiveInt = 100
    step_size: PositiveFloat | None = None
    orthogonal: bool = True
    misclassified_margin: NonNegativeFloat = 0.05
    random_start: bool = True

    spends_radius: ClassVar[bool] = True
    uses_region: ClassVar[bool] = True

    @property
    def accepts_start(self) -> bool:
        return True

    def check_goal(self, goal: Goal) -> None:
        if not isinstance(goal, Undetected):
            raise GoalError(
                f"{self.name} is an attack on a classifier with a detector, and this goal knows of none; attack "
                "Defended(target, detector).adaptive_view(), or use PGD"
            )

    def init(self, oracle: Gradients, batch: Batch) -> PGDState:
        return PGD(self.ball, random_start=self.random_start).init(oracle, batch)

    def step(self, oracle: Gradients, state: PGDState, t: int) -> PGDState:
        classifier = oracle.gradient(state.x, loss=ClimbTask(Margin()))
        detector = oracle.gradient(state.x, loss=ClimbDetector())
        region = oracle.region
        a, b = region.masked(classifier.grad), region.masked(detector.grad)
        if self.orthogonal:
            a, b = orthogonalize(a, b), orthogonalize(b, a)
        direction = torch.where(rowwise(classifier.value > self.misclassified_margin, a), b, a)
        step_size = 2.5 * region.radius / self.steps if self.step_size is None else self.step_size
        return PGDState(region.ascend_(direction, state.x, step_size))

    def finish(self, oracle: Gradients, state: PGDState) -> None:
        oracle.score(state.x)


def orthogonalize(a: Tensor, b: Tensor) -> Tensor:
    """Return a - proj_b(a), row by row, for a and b (B, ...)."""
    flat, along = a.flatten(1), b.flatten(1)
    along = along / along.abs().amax(1, keepdim=True).clamp_min(torch.finfo(b.dtype).tiny)  # squares must not underflow
    share = (flat * along).sum(1) / along.square().sum(1).clamp_min(torch.finfo(b.dtype).tiny)
    return (flat - share[:, None] * along).view_as(a)
