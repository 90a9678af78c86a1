"""Augmented Lagrangian attack, ALMA (Rony et al. 2021, arXiv:2011.11857, algorithm 1).

    minimise |delta| + P(y, rho, mu),   y = slack - loss, where the loss is DLR
    P = mu y + mu rho y^2 + rho^2 y^3 / 6 where y >= 0,   mu y / (1 - rho y) where y < 0                          (P_2)
    mu  = alpha mu + (1 - alpha) dP/dy at each step
    rho = 1.2 rho at each tenth step where the row never succeeded and y fell by less than 5 %

by RMSProp with momentum; the learning rate falls exponentially to `lr_reduction` once the row has succeeded.

Departures: the first step goes a share of the linear way to the boundary of its row (the paper has one length for each
norm and data set); the margin in y is FMN's smooth one, whose temperature falls to 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Batch, DecayFactor, Gradients, NonNegativeFloat, PositiveFloat, PositiveFraction, PositiveInt
from ...geometry import L1, L2, Ball, rowwise, tiny
from ...geometry.region import Region
from ...goals import DLR, Climb, SmoothDLR, Verdict
from ...perturbations import Additive
from ..minimum_norm import MinimumNormAttack
from .annealing import cosine_decay

SLACK = 1e-4  # keeps rows from ending on the boundary itself
CHECK_STEPS, IMPROVEMENT, RHO_GROWTH = 10, 0.95, 1.2  # the paper's M, tau and gamma
SMALLEST_MU, LARGEST_MU = 1e-6, 1e12
FEW_STEPS = 100  # up to which the paper's alpha is 0.5
EPSILON = 1e-8  # of RMSProp


@dataclass(frozen=True)
class ALMAState:
    """Each row's perturbation, RMSProp's averages, multiplier and penalty; (B,) unless a line says otherwise."""

    delta: Tensor  # (B, ...)
    square: Tensor  # (B, ...) the average of squared gradients
    momentum: Tensor  # (B, ...)
    learning_rate: Tensor  # of the first step
    mu: Tensor
    rho: Tensor
    checked: Tensor  # y when rho was last checked
    found: Tensor  # the step of the first success; the number of steps before that
    gap: Tensor  # at the image


@dataclass(frozen=True)
class ALMA(MinimumNormAttack[Gradients, ALMAState]):
    """Find the smallest L2 or L1 norm by a penalty whose weight follows the constraint row by row.

    Args:
        ball: L2 or L1; a finite eps asks for examples within it.
        steps: gradient steps (100 or 1000 in the paper).
        init_lr_distance: the length of the first step, as a share of the linear way to the boundary.
        alpha: the share of mu, of RMSProp's average and of its momentum that is kept at each step; None: 0.5 up to 100
            steps, else 0.9, as in the paper.
        lr_reduction: the last learning rate over the first (0.01 in the paper).
        temperature: the first temperature of the margin, as a share of the gap at the image; 0: the DLR itself.
    """

    ball: Ball = L2()
    steps: PositiveInt = 1000
    init_lr_distance: PositiveFloat = 0.3
    alpha: DecayFactor | None = None
    lr_reduction: PositiveFraction = 0.01
    temperature: NonNegativeFloat = 0.2

    norms: ClassVar[tuple[type[Ball], ...]] = (L2, L1)
    alternative: ClassVar[str] = "FMN"

    @property
    def decay(self) -> float:
        """The value of `alpha`, chosen by the number of steps where it is None."""
        return (0.5 if self.steps <= FEW_STEPS else 0.9) if self.alpha is None else self.alpha

    def init(self, oracle: Gradients, batch: Batch) -> ALMAState:
        zero, one = torch.zeros_like(oracle.region.x), torch.ones_like(oracle.region.eps)
        steps, gap = one * self.steps, torch.zeros_like(one)
        return ALMAState(zero, torch.ones_like(zero), zero, one, one, one, one, steps, gap)

    def step(self, oracle: Gradients, state: ALMAState, t: int) -> ALMAState:
        region = oracle.region

        def objective(verdict: Verdict, images: Tensor) -> Tensor:
            y = SLACK - verdict.loss
            value = penalty(y, state.rho, self._multiplier(state, y.detach(), t))
            return value + region.norm(images - region.x) if t else value

        loss = self._loss(state, t)
        answer = oracle.gradient(state.delta, render=Additive(region.x), objective=objective, loss=loss)
        grad = region.masked(answer.grad)
        y, margin = SLACK - answer.verdict.loss, answer.verdict.margin
        if t == 0:
            squares = grad.flatten(1).square().sum(1).clamp_min(tiny(y))
            linear = y * penalty_derivative(y, state.rho, state.mu) / squares
            state = replace(state, learning_rate=self.init_lr_distance * linear, checked=y, gap=margin.abs())
        found = torch.where(margin > 0, state.found.clamp_max(t), state.found)
        state = replace(state, mu=self._multiplier(state, y, t), found=found)
        if (t + 1) % CHECK_STEPS == 0:
            failing = (found >= self.steps) & (y >= IMPROVEMENT * state.checked)
            state = replace(state, rho=torch.where(failing, RHO_GROWTH * state.rho, state.rho), checked=y)
        return self._moved(region, state, grad, t)

    def _loss(self, state: ALMAState, t: int) -> Climb:
        temperature = self.temperature * cosine_decay(t, self.steps)
        return SmoothDLR(state.gap * temperature) if t and self.temperature else DLR()

    def _multiplier(self, state: ALMAState, y: Tensor, t: int) -> Tensor:
        """The next mu (B,)."""
        if t == 0:
            return state.mu
        derivative = penalty_derivative(y, state.rho, state.mu)
        return state.mu.lerp(derivative, 1 - self.decay).clamp_(SMALLEST_MU, LARGEST_MU)

    def _moved(self, region: Region, state: ALMAState, grad: Tensor, t: int) -> ALMAState:
        """The state after one step of RMSProp."""
        elapsed = (t - state.found).clamp_min(0) / (self.steps - state.found).clamp_min(1)
        square = (state.square * self.decay).addcmul_(grad, grad, value=1 - self.decay)
        momentum = (state.momentum * self.decay).addcdiv_(grad, square.sqrt().add_(EPSILON))
        moved = state.delta - momentum * rowwise(state.learning_rate * self.lr_reduction**elapsed, grad)
        delta = region.clamp_(moved.add_(region.x)).sub_(region.x)
        return replace(state, delta=delta, square=square, momentum=momentum)

    def finish(self, oracle: Gradients, state: ALMAState) -> None:
        oracle.score(oracle.region.x + state.delta)


def penalty(y: Tensor, rho: Tensor, mu: Tensor) -> Tensor:
    """Return P_2 of the paper (B,) at the constraint y, with penalty parameter rho and multiplier mu, all (B,)."""
    above = mu * y + mu * rho * y.square() + rho.square() * y**3 / 6
    return torch.where(y >= 0, above, mu * y / (1 - rho * y.clamp_max(0)))


def penalty_derivative(y: Tensor, rho: Tensor, mu: Tensor) -> Tensor:
    """Return dP/dy (B,) of `penalty`, with the same arguments."""
    above = mu + 2 * mu * rho * y + (rho * y).square() / 2
    return torch.where(y >= 0, above, mu / (1 - rho * y.clamp_max(0)).square())
