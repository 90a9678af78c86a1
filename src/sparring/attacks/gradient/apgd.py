"""Auto-PGD (Croce & Hein 2020, arXiv:2003.01690, algorithm 1): projected gradient ascent without a step size.

    z_{t+1} = Proj ( x_t + eta * steepest(grad f(x_t)) )
    x_{t+1} = Proj ( x_t + alpha (z_{t+1} - x_t) + (1 - alpha) (x_t - x_{t-1}) ),  alpha = 0.75

The step size eta starts at 2 eps. At checkpoints p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06), p_1 = 0.22, in shares
of the steps (each interval rounded down), a row halves eta and goes back to its best point if fewer than rho = 75 % of
the steps since the last checkpoint raised f, or if neither eta nor the best value changed since then.

With `use_largereps` the steps are spent at 2 eps, 1.5 eps and eps in turn, each from the best point of the one before,
projected, as Croce, Singh & Hein 2024 (arXiv:2306.12941, section 3.5) do it for segmentation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Attack, Batch, Gradients, PositiveInt
from ...geometry import L2, Ball, Linf, rowwise
from ...geometry.region import Region
from ...goals import Climb
from .checkpoints import check_loss, checkpoints, radius_at

ALPHA, RHO = 0.75, 0.75
RADII = ((2.0, 0.3), (1.5, 0.3), (1.0, 0.4))  # radius in eps, share of the steps


@dataclass(frozen=True)
class APGDState:
    """The iterates of each row, its best point, and what decides on its step size. Inputs are (B, ...), others (B,)."""

    x: Tensor
    previous: Tensor  # x_{t-1}
    best: Tensor  # the input of the highest loss
    best_grad: Tensor
    best_loss: Tensor
    loss: Tensor  # of the last step
    step_size: Tensor  # in the ball's norm
    rises: Tensor  # steps that raised the loss since the last checkpoint
    halved: Tensor  # bool: whether the last checkpoint halved the step size
    checkpoint_loss: Tensor  # the best loss at the last checkpoint


@dataclass(frozen=True)
class APGD(Attack[Gradients, APGDState]):
    """Ascend the loss with momentum and a step size that is halved when progress stalls.

    Args:
        ball: Linf or L2 with a finite eps.
        steps: the number of gradient steps (100 in the paper).
        loss: the loss to ascend. None: the goal's own; under `Rivals` a rival's (APGD-T). DLR() is the paper's
            APGD-DLR, and LogOdds() its APGD-CE, also where the model is so sure that the cross-entropy is flat.
        use_largereps: begin at larger radii. Only what lies within eps counts.
    """

    ball: Ball
    steps: PositiveInt = 100
    loss: Climb | None = None
    use_largereps: bool = False

    norms: ClassVar[tuple[type[Ball], ...]] = (Linf, L2)
    alternative: ClassVar[str] = "PGD"
    spends_radius: ClassVar[bool] = True
    uses_region: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_loss("APGD", self.loss)

    @property
    def queries_outside_ball(self) -> bool:
        return self.use_largereps

    def _radius_at(self, t: int) -> tuple[float, int, int]:
        """At step t: the radius in eps, the steps since it was set, and how many it has."""
        return radius_at(t, self.steps, RADII if self.use_largereps else RADII[-1:])

    def init(self, oracle: Gradients, batch: Batch) -> APGDState:
        region = oracle.region.scaled(self._radius_at(0)[0])
        return self._start(region, region.x + region.sample(oracle.key))

    @staticmethod
    def _start(region: Region, x: Tensor) -> APGDState:
        lowest = torch.full_like(region.eps, -torch.inf)
        return APGDState(
            x=x,
            previous=x,
            best=x,
            best_grad=torch.zeros_like(x),
            best_loss=lowest,
            loss=-lowest,  # so that the first loss does not count as a rise
            step_size=2 * region.eps,
            rises=torch.zeros_like(region.eps, dtype=torch.long),
            halved=torch.ones_like(region.eps, dtype=torch.bool),
            checkpoint_loss=lowest,
        )

    def step(self, oracle: Gradients, state: APGDState, t: int) -> APGDState:
        factor, since, length = self._radius_at(t)
        region = oracle.region.scaled(factor)
        if t and since == 0:
            state = self._start(region, region.nearest_(state.best.clone()))
        answer = oracle.gradient(state.x, loss=self.loss)
        better = answer.value > state.best_loss
        state = replace(
            state,
            rises=state.rises + (answer.value > state.loss),
            loss=answer.value,
            best=torch.where(rowwise(better, state.x), state.x, state.best),
            best_grad=torch.where(rowwise(better, state.x), answer.grad, state.best_grad),
            best_loss=torch.where(better, answer.value, state.best_loss),
        )
        x, grad = state.x, answer.grad
        if since in (marks := checkpoints(length)):
            state = self._checkpoint(state, since - max((m for m in marks if m < since), default=0))
            x = torch.where(rowwise(state.halved, x), state.best, x)
            grad = torch.where(rowwise(state.halved, x), state.best_grad, grad)
        return replace(state, x=self._next(region, state, x, grad, since), previous=x)

    def _next(self, region: Region, state: APGDState, x: Tensor, grad: Tensor, since: int) -> Tensor:
        z = region.nearest_(x + region.steepest(grad) * rowwise(state.step_size, grad))
        return z if since == 0 else region.nearest_(x + ALPHA * (z - x) + (1 - ALPHA) * (x - state.previous))

    def _checkpoint(self, state: APGDState, passed: int) -> APGDState:
        """Halve the step size of rows that made too little progress in the `passed` steps since the last checkpoint."""
        oscillating = state.rises <= RHO * passed
        halved = oscillating | (~state.halved & (state.checkpoint_loss >= state.best_loss))
        step_size = torch.where(halved, state.step_size / 2, state.step_size)
        rises = torch.zeros_like(state.rises)
        return replace(state, step_size=step_size, rises=rises, halved=halved, checkpoint_loss=state.best_loss)

    def finish(self, oracle: Gradients, state: APGDState) -> None:
        oracle.score(state.x)
