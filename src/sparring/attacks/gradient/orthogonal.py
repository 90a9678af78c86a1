"""Orthogonal projected gradient descent (Bryniarski et al. 2021, arXiv:2106.15023): past a classifier and a detector.

With a and b the gradients at x_t of the classifier's loss and of the detector's silence:

    d_t     = a - proj_b(a)  where the image is not yet misclassified, else  b - proj_a(b)     (orthogonal)
    d_t     = a              where the image is not yet misclassified, else  b                 (selective)
    x_{t+1} = Proj_{ball and box} ( x_t + step_size * steepest(d_t) )

proj_b(a) = <a, b> b / <b, b>: a step toward one aim leaves the other, to first order, as it is, and no weight between
them has to be found. A step asks for both gradients. As in the authors' code the steepest direction is taken after the
projection (the sign, in Linf), and is orthogonal no more.

Departures: the loss is the goal's own margin, whose sign says who is misclassified; the walk may begin at random; steps
are 2.5 eps / steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Attack, Batch, Gradient, Gradients
from ...errors import ConfigError, GoalError
from ...geometry import Ball, rowwise
from ...geometry.ball import Radius
from ...geometry.region import Region
from ...goals import Climb, ClimbDetector, ClimbTask, Margin
from .pgd import PGD, PGDState


@dataclass(frozen=True)
class OrthogonalPGD(Attack[Gradients, PGDState]):
    """Misclassified and undetected, each aim pursued across the other.

    Args:
        ball: Linf, L2 or L1 with a finite eps.
        steps: each of two gradients.
        step_size: in units of the norm; None: 2.5 * eps / steps.
        orthogonal: make the gradient of one aim orthogonal to that of the other; False: the selective variant.
        lead: the margin from which an image counts as misclassified (0.05 in the authors' code).
        random_start: begin at a point uniform in the ball.

    Raises GoalError on a target without a detector; one with a detector makes `Undetected` of any goal.
    """

    ball: Ball
    steps: int = 100
    step_size: float | None = None
    orthogonal: bool = True
    lead: float = 0.05
    random_start: bool = True

    spends_radius: ClassVar[bool] = True
    regional: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1 or not self.lead >= 0 or (self.step_size is not None and not self.step_size > 0):
            given = f"steps={self.steps}, step_size={self.step_size}, lead={self.lead}"
            raise ConfigError(f"OrthogonalPGD {given}; pass steps and a step size above 0, and a lead of 0 or more")

    def rate(self, region: Region) -> Radius:
        """The size of a step: one number, or (B,)."""
        return 2.5 * region.radius / self.steps if self.step_size is None else self.step_size

    @property
    def accepts_start(self) -> bool:
        return True

    def init(self, oracle: Gradients, batch: Batch) -> PGDState:
        return PGD(self.ball, random_start=self.random_start).init(oracle, batch)

    def step(self, oracle: Gradients, state: PGDState, t: int) -> PGDState:
        classifier = aimed(oracle, state.x, ClimbTask(Margin()))
        detector = aimed(oracle, state.x, ClimbDetector())
        region = oracle.region
        a, b = region.masked(classifier.grad), region.masked(detector.grad)
        if self.orthogonal:
            a, b = across(a, b), across(b, a)
        uphill = torch.where(rowwise(classifier.value > self.lead, a), b, a)
        return PGDState(region.ascend_(uphill, state.x, self.rate(region)))

    def finish(self, oracle: Gradients, state: PGDState) -> None:
        oracle.score(state.x)


def aimed(oracle: Gradients, images: Tensor, aim: Climb) -> Gradient:
    """The gradient of one of the two aims."""
    try:
        return oracle.gradient(images, loss=aim)
    except GoalError as error:
        raise GoalError(
            "OrthogonalPGD is an attack on a classifier with a detector, and this goal knows of none; attack "
            "Defended(target, detector).adaptive_view(), or use PGD"
        ) from error


def across(a: Tensor, b: Tensor) -> Tensor:
    """Row by row what is left of `a` without its part along `b`."""
    flat, along = a.flatten(1), b.flatten(1)
    along = along / along.abs().amax(1, keepdim=True).clamp_min(torch.finfo(b.dtype).tiny)  # squares must not underflow
    share = (flat * along).sum(1) / along.square().sum(1).clamp_min(torch.finfo(b.dtype).tiny)
    return (flat - share[:, None] * along).view_as(a)
