"""Auto-PGD (Croce & Hein 2020, arXiv:2003.01690, algorithm 1): projected gradient ascent without a step size.

    z_{t+1} = Proj ( x_t + step * steepest(grad f(x_t)) )
    x_{t+1} = Proj ( x_t + 0.75 (z_{t+1} - x_t) + 0.25 (x_t - x_{t-1}) )

The step starts at 2 eps. At checkpoints p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06), p_1 = 0.22, in shares of
the steps (each interval rounded down), a row halves its step and goes back to its best point if fewer than 75 % of
the steps since the last checkpoint raised f, or if neither step nor best value changed since then.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Attack, Batch, Gradients
from ...errors import ConfigError
from ...geometry import L2, Ball, Linf, rowwise
from ...geometry.region import Region
from ...goals import Climb

INERTIA, RISING = 0.75, 0.75


@dataclass(frozen=True)
class Ascent:
    """Where each row stands, where it was, its best point, and what decides on its step."""

    image: Tensor
    previous: Tensor
    best: Tensor  # image
    best_grad: Tensor
    best_value: Tensor
    value: Tensor  # of the last step
    step: Tensor  # in units of the norm
    rises: Tensor  # steps that raised f since the last checkpoint
    reduced: Tensor  # bool: did the last checkpoint halve the step?
    best_then: Tensor  # best value at the last checkpoint


@dataclass(frozen=True)
class APGD(Attack[Gradients, Ascent]):
    """Parameter-free projected gradient ascent.

    Args:
        ball: Linf or L2 with a finite eps.
        steps: gradient steps (100 in the paper).
        loss: what is climbed. None: the goal's own, whose log-odds make the paper's APGD-CE, also where the model is so
            sure that the cross-entropy is flat; under `Rivals` a rival's (APGD-T). DLR() is the paper's APGD-DLR.
    """

    ball: Ball
    steps: int = 100
    loss: Climb | None = None

    norms: ClassVar[tuple[type[Ball], ...]] = (Linf, L2)
    elsewhere: ClassVar[str] = "PGD"
    spends_radius: ClassVar[bool] = True
    regional: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1 or not isinstance(self.loss, Climb | None):
            raise ConfigError(f"APGD steps={self.steps}, loss={self.loss!r}; pass steps >= 1 and a Climb or None")

    def init(self, oracle: Gradients, batch: Batch) -> Ascent:
        region, low = oracle.region, torch.full_like(oracle.region.eps, -torch.inf)
        start = region.x + region.sample(oracle.key)
        return Ascent(
            image=start,
            previous=start,
            best=start,
            best_grad=torch.zeros_like(start),
            best_value=low,
            value=-low,  # the first value is no rise
            step=2 * region.eps,
            rises=torch.zeros_like(oracle.key.indices),
            reduced=torch.ones_like(oracle.key.indices, dtype=torch.bool),
            best_then=low,
        )

    def step(self, oracle: Gradients, state: Ascent, t: int) -> Ascent:
        answer = oracle.gradient(state.image, loss=self.loss)
        better = answer.value > state.best_value
        state = replace(
            state,
            rises=state.rises + (answer.value > state.value),
            value=answer.value,
            best=torch.where(rowwise(better, state.image), state.image, state.best),
            best_grad=torch.where(rowwise(better, state.image), answer.grad, state.best_grad),
            best_value=torch.where(better, answer.value, state.best_value),
        )
        image, grad = state.image, answer.grad
        if t in (marks := checkpoints(self.steps)):
            state, halved = self._checkpoint(state, t - max((m for m in marks if m < t), default=0))
            image = torch.where(rowwise(halved, image), state.best, image)
            grad = torch.where(rowwise(halved, image), state.best_grad, grad)
        return replace(state, image=self._moved(oracle.region, state, image, grad, t), previous=image)

    def _moved(self, region: Region, state: Ascent, image: Tensor, grad: Tensor, t: int) -> Tensor:
        stride = region.steepest(grad) * rowwise(state.step, grad)
        ahead = region.nearest_(image + stride)
        if t == 0:
            return ahead
        mixed = image + INERTIA * (ahead - image) + (1 - INERTIA) * (image - state.previous)
        return region.nearest_(mixed)

    def _checkpoint(self, state: Ascent, passed: int) -> tuple[Ascent, Tensor]:
        """Who halves its step, having taken `passed` steps since the last checkpoint."""
        oscillating = state.rises <= RISING * passed
        stalled = ~state.reduced & (state.best_then >= state.best_value)
        halved = oscillating | stalled
        step = torch.where(halved, state.step / 2, state.step)
        fresh = torch.zeros_like(state.rises)
        return replace(state, step=step, rises=fresh, reduced=halved, best_then=state.best_value), halved

    def finish(self, oracle: Gradients, state: Ascent) -> None:
        oracle.score(state.image)


def checkpoints(steps: int) -> list[int]:
    """The steps after which step sizes are judged, in whole steps as in the authors' code: w_1 = 0.22 steps, and each

    interval 0.03 steps shorter than the last, down to 0.06 steps.
    """
    first, less, least = (max(int(share * steps), 1) for share in (0.22, 0.03, 0.06))
    marks: list[int] = []
    interval = first
    while sum(marks[-1:]) + interval < steps:
        marks.append(sum(marks[-1:]) + interval)
        interval = max(interval - less, least)
    return marks
