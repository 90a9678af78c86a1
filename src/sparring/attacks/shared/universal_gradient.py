"""Universal perturbation by stochastic gradients (Shafahi et al. 2020, arXiv:1811.11304, algorithm 2).

    v <- Proj_ball ( v + step_size * steepest ( sum_i grad_v L(x_i + v) ) )

over batches of the images. The paper clips the cross-entropy at beta, so that images that are broken already do not
dominate the sum. Departures: L is `soft_success` with a fifth of the batch's mean |margin| as its temperature, which
does the same on both sides and does not depend on the scale of logits; the gradient has momentum, and the step size
falls linearly from eps to 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...access import DecayFactor, Gradients, PositiveFloat, PositiveInt, Shared, SharedBatch
from ...geometry import L2, Ball, Linf
from ...goals import Verdict
from .perturbation import Perturbation, initial_delta, project_delta
from .soft_success import soft_success

TEMPERATURE = 0.2  # in mean |margin|


@dataclass(frozen=True)
class GradientUniversalState:
    """The perturbation so far and the momentum of its gradient, both (C, H, W)."""

    delta: Tensor
    momentum: Tensor


@dataclass(frozen=True)
class GradientUniversal(Shared[Gradients, GradientUniversalState, Perturbation]):
    """Make one perturbation for all images, by gradient ascent on how many of them it breaks.

    Args:
        ball: Linf or L2 with a finite eps.
        epochs: passes over the images.
        batch_size: images per step.
        step_size: the first step size, in the ball's norm; None: eps.
        momentum: the factor on the last momentum, in [0, 1).
    """

    ball: Ball
    epochs: PositiveInt = 20
    batch_size: PositiveInt = 32
    step_size: PositiveFloat | None = None
    momentum: DecayFactor = 0.5

    norms: ClassVar[tuple[type[Ball], ...]] = (Linf, L2)
    uses_region: ClassVar[bool] = True

    def init(self, like: Tensor, seed: int, start: Perturbation | None) -> GradientUniversalState:
        delta = initial_delta(like, start, self.ball)
        return GradientUniversalState(delta, torch.zeros_like(delta))

    def step(
        self, oracle: Gradients, state: GradientUniversalState, batch: SharedBatch, progress: float
    ) -> GradientUniversalState:
        perturbed = oracle.region.nearest_(batch.x + state.delta)
        grad = oracle.region.masked(oracle.gradient(perturbed, objective=sharp_success).grad).sum(0)
        momentum = self.momentum * state.momentum + grad
        step_size = (self.ball.eps if self.step_size is None else self.step_size) * (1 - progress)
        delta = state.delta + step_size * self.ball.steepest(momentum[None])[0]
        return GradientUniversalState(project_delta(delta, self.ball), momentum)

    def artifact(self, state: GradientUniversalState) -> Perturbation:
        return Perturbation(state.delta, self.ball)


def sharp_success(verdict: Verdict, images: Tensor) -> Tensor:
    """Return `soft_success` (B,) at the attack's temperature, as an objective of gradient queries."""
    return soft_success(verdict, TEMPERATURE)
