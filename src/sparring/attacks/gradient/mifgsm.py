"""Momentum iterative FGSM (Dong et al. 2018, arXiv:1710.06081, algorithm 1).

    g_{t+1} = mu * g_t + grad L(x_t) / |grad L(x_t)|_1
    x_{t+1} = Clip_{x, eps} ( x_t + alpha * sign(g_{t+1}) ),  alpha = eps / T

A row whose gradient is zero keeps its momentum. In other norms the step follows their steepest direction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Attack, Batch, Gradients, NonNegativeFloat, PositiveFloat, PositiveInt
from ...geometry import Ball, rowwise, tiny
from ...geometry.region import Region
from ...perturbations import Additive


@dataclass(frozen=True)
class MIFGSMState:
    """The perturbation and the momentum g_t of each row, both (B, ...)."""

    delta: Tensor
    momentum: Tensor


@dataclass(frozen=True)
class MIFGSM(Attack[Gradients, MIFGSMState]):
    """Ascend the loss along an average of normalized gradients, for examples that transfer.

    Args:
        ball: Linf in the paper, with a finite eps; L2 and L1 work as well.
        steps: T, the number of gradient steps (10 in the paper).
        decay: mu, the factor on the momentum (1.0 in the paper).
        step_size: alpha, in the ball's norm; None: eps / steps.
    """

    ball: Ball
    steps: PositiveInt = 10
    decay: NonNegativeFloat = 1.0
    step_size: PositiveFloat | None = None

    spends_radius: ClassVar[bool] = True
    uses_region: ClassVar[bool] = True

    def row_step_sizes(self, region: Region) -> Tensor:
        """Return the step size of each row, (B,)."""
        return region.eps / self.steps if self.step_size is None else torch.full_like(region.eps, self.step_size)

    def init(self, oracle: Gradients, batch: Batch) -> MIFGSMState:
        zero = torch.zeros_like(oracle.region.x)
        return MIFGSMState(zero, zero)

    def gradient_point(self, region: Region, state: MIFGSMState) -> Tensor:
        """Return the perturbation (B, ...) at which the gradient is taken."""
        return state.delta

    def step(self, oracle: Gradients, state: MIFGSMState, t: int) -> MIFGSMState:
        region = oracle.region
        answer = oracle.gradient(self.gradient_point(region, state), render=Additive(region.x))
        grad = region.masked(answer.grad)
        length = grad.flatten(1).abs().sum(1).clamp_min(tiny(grad))
        momentum = self.decay * state.momentum + grad / rowwise(length, grad)
        direction = region.steepest(momentum, at=answer.images)
        delta = state.delta + direction * rowwise(self.row_step_sizes(region), momentum)
        return MIFGSMState(region.project(delta), momentum)

    def finish(self, oracle: Gradients, state: MIFGSMState) -> None:
        oracle.score(oracle.region.x + state.delta)
