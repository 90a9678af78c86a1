"""Augmented Lagrangian attack, ALMA (Rony et al. 2021, arXiv:2011.11857, algorithm 1).

    minimise |delta| + P(y, rho, mu),   y = slack - loss, where the loss is DLR
    P = mu y + mu rho y^2 + rho^2 y^3 / 6 where y >= 0,   mu y / (1 - rho y) where y < 0                          (P_2)
    mu  = inertia mu + (1 - inertia) dP/dy at each step
    rho = 1.2 rho at each tenth step where the row was never across and y fell by less than 5 %

by RMSProp with momentum; the rate falls exponentially to `decay` once the row has been across.

Departures: the first step goes a share of the linear way to the boundary of its row (the paper has one length for each
norm and data set); the margin in y is FMN's smooth one, whose temperature falls to 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Attack, Batch, Gradients, Keep
from ...errors import ConfigError
from ...geometry import L1, L2, Ball, rowwise, tiny
from ...geometry.region import Region
from ...goals import DLR, Climb, SmoothDLR, Verdict
from ...perturbations import Additive

SLACK = 1e-4  # keeps rows from ending on the boundary itself
LOOK, IMPROVED, GROWTH = 10, 0.95, 1.2  # of rho
LOWEST, HIGHEST = 1e-6, 1e12  # of mu
SHORT = 100  # steps for which the paper has an inertia of 0.5


@dataclass(frozen=True)
class Lagrangian:
    """A perturbation, RMSProp's averages, and each row's multiplier and penalty."""

    delta: Tensor
    square: Tensor
    momentum: Tensor
    rate: Tensor
    mu: Tensor
    rho: Tensor
    looked: Tensor  # y when rho was last looked at
    found: Tensor  # the step of the first success; the number of steps before that
    gap: Tensor  # at the image


@dataclass(frozen=True)
class ALMA(Attack[Gradients, Lagrangian]):
    """Minimum L2 or L1 norm, by a penalty whose weight follows the constraint row by row.

    Args:
        ball: L2 or L1; a finite eps asks for examples within it.
        steps: gradient steps (100 or 1000 in the paper).
        first: the first step, as a share of the linear way to the boundary.
        inertia: of mu, of RMSProp and of its momentum; None: 0.5 up to 100 steps, else 0.9, as in the paper.
        decay: the last rate over the first (0.01 in the paper).
        smooth: the first temperature of the margin, as a share of the gap at the image; 0: the DLR itself.
    """

    ball: Ball = L2()
    steps: int = 1000
    first: float = 0.3
    inertia: float | None = None
    decay: float = 0.01
    smooth: float = 0.2

    norms: ClassVar[tuple[type[Ball], ...]] = (L2, L1)
    elsewhere: ClassVar[str] = "FMN"
    regional: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1 or not self.first > 0 or not 0 < self.decay <= 1 or not self.smooth >= 0:
            raise ConfigError(
                f"ALMA steps={self.steps}, first={self.first}, decay={self.decay}, smooth={self.smooth}; "
                "pass steps >= 1, first > 0, decay in (0, 1] and smooth >= 0"
            )
        if self.inertia is not None and not 0 <= self.inertia < 1:
            raise ConfigError(f"ALMA inertia={self.inertia}; pass a share in [0, 1), or None")

    @property
    def keep(self) -> Keep:
        return Keep.SMALLEST

    @property
    def kept(self) -> float:
        """The share of every moving average that stays at each step."""
        return (0.5 if self.steps <= SHORT else 0.9) if self.inertia is None else self.inertia

    def init(self, oracle: Gradients, batch: Batch) -> Lagrangian:
        still, one = torch.zeros_like(oracle.region.x), torch.ones_like(oracle.region.eps)
        return Lagrangian(
            still, torch.ones_like(still), still, one, one, one, one, one * self.steps, torch.zeros_like(one)
        )

    def step(self, oracle: Gradients, state: Lagrangian, t: int) -> Lagrangian:
        region = oracle.region

        def price(verdict: Verdict, images: Tensor) -> Tensor:
            y = SLACK - verdict.loss
            value = penalty(y, state.rho, self._multiplier(state, y.detach(), t))
            return value + region.norm(images - region.x) if t else value

        answer = oracle.gradient(state.delta, render=Additive(region.x), objective=price, loss=self._loss(state, t))
        grad = region.masked(answer.grad)
        y, margin = SLACK - answer.verdict.loss, answer.verdict.margin
        if t == 0:
            way = y * slope(y, state.rho, state.mu) / grad.flatten(1).square().sum(1).clamp_min(tiny(y))
            state = replace(state, rate=self.first * way, looked=y, gap=margin.abs())
        found = torch.where(margin > 0, state.found.clamp_max(t), state.found)
        state = replace(state, mu=self._multiplier(state, y, t), found=found)
        if (t + 1) % LOOK == 0:
            failing = (found >= self.steps) & (y >= IMPROVED * state.looked)
            state = replace(state, rho=torch.where(failing, GROWTH * state.rho, state.rho), looked=y)
        return self._moved(region, state, grad, t)

    def _loss(self, state: Lagrangian, t: int) -> Climb:
        share = self.smooth * (1 + math.cos(math.pi * t / self.steps)) / 2
        return SmoothDLR(state.gap * share) if t and self.smooth else DLR()

    def _multiplier(self, state: Lagrangian, y: Tensor, t: int) -> Tensor:
        if t == 0:
            return state.mu
        return state.mu.lerp(slope(y, state.rho, state.mu), 1 - self.kept).clamp_(LOWEST, HIGHEST)

    def _moved(self, region: Region, state: Lagrangian, grad: Tensor, t: int) -> Lagrangian:
        passed = (t - state.found).clamp_min(0) / (self.steps - state.found).clamp_min(1)
        square = (state.square * self.kept).addcmul_(grad, grad, value=1 - self.kept)
        momentum = (state.momentum * self.kept).addcdiv_(grad, square.sqrt().add_(1e-8))
        moved = state.delta - momentum * rowwise(state.rate * self.decay**passed, grad)
        delta = region.clamp_(moved.add_(region.x)).sub_(region.x)
        return replace(state, delta=delta, square=square, momentum=momentum)

    def finish(self, oracle: Gradients, state: Lagrangian) -> None:
        oracle.score(oracle.region.x + state.delta)


def penalty(y: Tensor, rho: Tensor, mu: Tensor) -> Tensor:
    """P_2 of the paper."""
    above = mu * y + mu * rho * y.square() + rho.square() * y**3 / 6
    return torch.where(y >= 0, above, mu * y / (1 - rho * y.clamp_max(0)))


def slope(y: Tensor, rho: Tensor, mu: Tensor) -> Tensor:
    """dP/dy."""
    above = mu + 2 * mu * rho * y + (rho * y).square() / 2
    return torch.where(y >= 0, above, mu / (1 - rho * y.clamp_max(0)).square())
