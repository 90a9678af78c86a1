"""Fast minimum-norm attack (Pintor et al. 2021, arXiv:2102.12827, algorithm 1).

    epsilon: |delta| + gap / |grad gap|_dual, the linear distance to the boundary, until an example is found;
             then (1 - gamma_t) epsilon, at most the best norm, where the row succeeds, (1 + gamma_t) epsilon elsewhere
    delta = Proj_epsilon ( delta + step_size_t * grad / |grad|_2 ), kept in the valid range

with gamma_t and step_size_t on cosine schedules; the projection is the norm's own, so one file serves Linf, L2, L1 and
L0 (where epsilon counts components and moves by at least one).

Departures. The gap that is climbed is smooth at first (`annealed_margin`), so that a row turns to the nearest of its
rivals and not to the one that happens to lead; temperature=0 is the paper's. The first step size, which the paper sets
by hand for each data set, is taken per row from the linear distance at the image: the L2 length of the shortest way
across in the attack's norm. In L0, after a quarter of the steps, a row that never succeeded grows by up to a half per
step, towards the count of components that would close its gap if each went to the end of its range.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...access import Batch, Gradients, NonNegativeFloat, OpenFraction, PositiveFloat, PositiveInt
from ...geometry import Ball, rowwise, tiny, unit
from ...geometry.region import Region
from ...perturbations import Additive
from ..minimum_norm import MinimumNormAttack
from .annealing import annealed_margin, cosine_decay, linear_step_size

FINAL_STEP_SIZE, FINAL_GAMMA = 0.01, 0.02  # of the first ones, at the last step
GROWTH_L0 = 1.5  # of the count of components in one step, at most


@dataclass(frozen=True)
class FMNState:
    """Each row's perturbation, and the epsilon that it is held to."""

    delta: Tensor  # (B, ...)
    epsilon: Tensor  # (B,)
    best: Tensor  # (B,) the smallest norm of an example
    step_size: Tensor  # (B,) the first one
    gap: Tensor  # (B,) at the image


@dataclass(frozen=True)
class FMN(MinimumNormAttack[Gradients, FMNState]):
    """Find the smallest norm in Linf, L2, L1 or L0 at a fixed number of passes.

    Args:
        ball: the norm; a finite eps asks for examples within it.
        steps: gradient steps (100 to 1000 in the paper).
        gamma: the first relative change of epsilon (0.05 in the paper).
        step_size: the first step, in L2 units (1 in the paper's code for MNIST and CIFAR-10); None: per row.
        temperature: the first temperature of the gap, as a share of the gap at the image; 0: the margin itself.
    """

    ball: Ball
    steps: PositiveInt = 100
    gamma: OpenFraction = 0.05
    step_size: PositiveFloat | None = None
    temperature: NonNegativeFloat = 0.2

    def init(self, oracle: Gradients, batch: Batch) -> FMNState:
        zero = torch.zeros_like(oracle.region.eps)
        return FMNState(torch.zeros_like(oracle.region.x), zero, zero + math.inf, zero, zero)

    def step(self, oracle: Gradients, state: FMNState, t: int) -> FMNState:
        region, fraction = oracle.region, cosine_decay(t, self.steps)
        loss = annealed_margin(state.gap, self.temperature, t, self.steps)
        answer = oracle.gradient(state.delta, render=Additive(region.x), loss=loss)
        gap, grad = answer.verdict.margin.abs(), region.masked(answer.grad)
        distance = gap / region.dual_norm(grad).clamp_min(tiny(grad))
        if t == 0:
            given = self.step_size
            first = linear_step_size(region, distance) if given is None else torch.full_like(gap, given)
            state = replace(state, gap=gap, step_size=first)
        found, norm = answer.verdict.margin > 0, region.norm(state.delta)
        state = replace(state, best=torch.where(found, torch.minimum(state.best, norm), state.best))
        ahead = region.hyperplane_distance(grad, gap, at=answer.images) if region.ball.p == 0 else distance
        gamma = self.gamma * (FINAL_GAMMA + (1 - FINAL_GAMMA) * fraction)
        epsilon = self._epsilon(region, state, found, norm + ahead, gamma, 4 * t >= self.steps)
        step_size = state.step_size * (FINAL_STEP_SIZE + (1 - FINAL_STEP_SIZE) * fraction)
        moved = state.delta + unit(grad) * rowwise(step_size, grad)
        return replace(state, delta=region.project(moved, epsilon), epsilon=epsilon)

    def _epsilon(
        self, region: Region, state: FMNState, found: Tensor, linear: Tensor, gamma: float, late: bool
    ) -> Tensor:
        """The next epsilon (B,), where `linear` (B,) is the norm at which the linearised boundary lies."""
        smaller, larger = state.epsilon * (1 - gamma), state.epsilon * (1 + gamma)
        if region.ball.p == 0:
            smaller = torch.minimum(smaller.floor(), state.epsilon - 1).clamp_min(1)
            larger = torch.maximum(larger.floor(), state.epsilon + 1)
            linear = torch.minimum(linear, (state.epsilon * GROWTH_L0).floor() + 1) if late else larger
        outside = torch.where(state.best.isfinite(), larger, linear)
        epsilon = torch.where(found, torch.minimum(smaller, state.best), outside)
        return torch.minimum(torch.where(epsilon.isnan(), region.diameter, epsilon), region.diameter)

    def finish(self, oracle: Gradients, state: FMNState) -> None:
        oracle.score(oracle.region.x + state.delta)
