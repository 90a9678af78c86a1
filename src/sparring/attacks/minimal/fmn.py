"""Fast minimum-norm attack (Pintor et al. 2021, arXiv:2102.12827, algorithm 1).

    radius: |delta| + gap / |grad gap|_dual, the linear distance to the boundary, until an example is found;
            then (1 - gamma_t) radius, at most the best norm, where the row is across, (1 + gamma_t) radius where not
    delta = Proj_radius ( delta + rate_t * grad / |grad|_2 ), kept in the valid range

with gamma_t and rate_t on cosine schedules; the projection is the norm's own, so one file serves Linf, L2, L1 and L0
(where the radius counts components and moves by at least one).

Departures. The gap that is climbed is smooth at first,

    T log sum_{i != y} exp(z_i / T) - z_y,    T = smooth * (gap at the image), falling to 0 with the rate,

so that a row turns to the nearest of its rivals and not to the one that happens to lead; smooth=0 is the paper's. The
first rate, which the paper sets by hand for each data set, is taken per row from the linear distance at the image: the
L2 length of the shortest way across in the attack's norm. In L0, after a quarter of the steps, a row that was
never across grows by up to a half per step, towards the count of components that would close its gap if each went to
the end of its range.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Attack, Batch, Gradients, Keep
from ...errors import ConfigError
from ...geometry import Ball, rowwise, tiny, unit
from ...geometry.region import Region
from ...goals import Margin, SmoothMargin
from ...perturbations import Additive

FINAL_RATE, FINAL_GAMMA = 0.01, 0.02  # of the first ones, at the last step
LEAP = 1.5  # how far the count of components may grow in one step


@dataclass(frozen=True)
class Chase:
    """A perturbation, the radius it is held to, and the smallest norm that won."""

    delta: Tensor
    radius: Tensor
    best: Tensor
    rate: Tensor
    gap: Tensor  # at the image


@dataclass(frozen=True)
class FMN(Attack[Gradients, Chase]):
    """Minimum norm in Linf, L2, L1 or L0 at a fixed number of passes.

    Args:
        ball: the norm; a finite eps asks for examples within it.
        steps: gradient steps (100 to 1000 in the paper).
        gamma: the first change of the radius (0.05 in the paper).
        rate: the first step, in L2 units (1 in the paper's code for MNIST and CIFAR-10); None: per row.
        smooth: the first temperature of the gap, as a share of the gap at the image; 0: the margin itself.
    """

    ball: Ball
    steps: int = 100
    gamma: float = 0.05
    rate: float | None = None
    smooth: float = 0.2

    regional: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1 or not 0 < self.gamma < 1 or not self.smooth >= 0:
            raise ConfigError(
                f"FMN steps={self.steps}, gamma={self.gamma}, smooth={self.smooth}; "
                "pass steps >= 1, 0 < gamma < 1 and smooth >= 0"
            )

    @property
    def keep(self) -> Keep:
        return Keep.SMALLEST

    def init(self, oracle: Gradients, batch: Batch) -> Chase:
        zero = torch.zeros_like(oracle.region.eps)
        return Chase(torch.zeros_like(oracle.region.x), zero, zero + math.inf, zero, zero)

    def step(self, oracle: Gradients, state: Chase, t: int) -> Chase:
        region, fraction = oracle.region, (1 + math.cos(math.pi * t / self.steps)) / 2
        loss = SmoothMargin(state.gap * (self.smooth * fraction)) if t and self.smooth else Margin()
        answer = oracle.gradient(state.delta, render=Additive(region.x), loss=loss)
        gap, grad = answer.verdict.margin.abs(), region.masked(answer.grad)
        distance = gap / region.dual_norm(grad).clamp_min(tiny(grad))
        if t == 0:
            rate = shortest(region, distance) if self.rate is None else torch.full_like(gap, self.rate)
            state = replace(state, gap=gap, rate=rate)
        across, norm = answer.verdict.margin > 0, region.norm(state.delta)
        state = replace(state, best=torch.where(across, torch.minimum(state.best, norm), state.best))
        ahead = region.hyperplane_distance(grad, gap, at=answer.images) if region.ball.p == 0 else distance
        gamma = self.gamma * (FINAL_GAMMA + (1 - FINAL_GAMMA) * fraction)
        radius = self._radius(region, state, across, norm + ahead, gamma, 4 * t >= self.steps)
        stride = state.rate * (FINAL_RATE + (1 - FINAL_RATE) * fraction)
        moved = state.delta + unit(grad) * rowwise(stride, grad)
        return replace(state, delta=region.project(moved, radius), radius=radius)

    def _radius(self, region: Region, state: Chase, across: Tensor, reach: Tensor, gamma: float, late: bool) -> Tensor:
        smaller, larger = state.radius * (1 - gamma), state.radius * (1 + gamma)
        if region.ball.p == 0:
            smaller = torch.minimum(smaller.floor(), state.radius - 1).clamp_min(1)
            larger = torch.maximum(larger.floor(), state.radius + 1)
            reach = torch.minimum(reach, (state.radius * LEAP).floor() + 1) if late else larger
        found = state.best.isfinite()
        radius = torch.where(across, torch.minimum(smaller, state.best), torch.where(found, larger, reach))
        return torch.minimum(torch.where(radius.isnan(), region.diameter, radius), region.diameter)

    def finish(self, oracle: Gradients, state: Chase) -> None:
        oracle.score(oracle.region.x + state.delta)


def shortest(region: Region, distance: Tensor) -> Tensor:
    """(B,) the L2 length of the shortest way that is `distance` long in the norm; in L0 at least a whole component."""
    least = (1.0 if region.ball.p == 0 else 1e-3) * region.inputs.scale
    return torch.minimum(region.euclidean_length(distance).clamp_min(least), region.extent)
