"""Fast minimum-norm attack (Pintor et al. 2021, arXiv:2102.12827, algorithm 1).

    radius: |delta| + gap / |grad gap|_dual, the linear distance to the boundary, until an example is found;
            then (1 - gamma_t) radius, at most the best norm, where the row is across, (1 + gamma_t) radius where not
    delta = Proj_radius ( delta + rate_t * grad / |grad|_2 ), kept in the valid range

with gamma_t and rate_t on cosine schedules; the projection is the norm's own, so one file serves Linf, L2, L1 and L0
(where the radius counts components and moves by at least one).

Departure: the first rate, which the paper sets by hand for each data set, is taken per row from the linear
distance at the image: the L2 length of the shortest way across in the attack's norm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...access import Attack, Batch, Gradients, Keep
from ...errors import ConfigError
from ...geometry import L0, L2, Ball, Linf, rowwise, tiny, unit
from ...goals import Verdict
from ...perturbations import Additive

FINAL_RATE, FINAL_GAMMA = 0.01, 0.02  # of the first ones, at the last step


@dataclass(frozen=True)
class Chase:
    """A perturbation, the radius it is held to, and the smallest norm that won."""

    x: Tensor
    delta: Tensor
    radius: Tensor
    best: Tensor
    rate: Tensor


@dataclass(frozen=True)
class FMN(Attack[Gradients, Chase]):
    """Minimum norm in Linf, L2, L1 or L0 at a fixed number of passes.

    Args:
        ball: the norm; a finite eps asks for examples within it.
        steps: gradient steps (100 to 1000 in the paper).
        gamma: the first change of the radius (0.05 in the paper).
        rate: the first step, in L2 units (1 in the paper's code for MNIST and CIFAR-10); None: per row.
    """

    ball: Ball
    steps: int = 100
    gamma: float = 0.05
    rate: float | None = None

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 < self.gamma < 1:
            raise ConfigError(f"FMN steps={self.steps}, gamma={self.gamma}; pass steps >= 1 and 0 < gamma < 1")

    @property
    def keep(self) -> Keep:
        return Keep.SMALLEST

    def init(self, oracle: Gradients, batch: Batch) -> Chase:
        zero = torch.zeros_like(batch.x[:, 0, 0, 0])
        return Chase(batch.x, torch.zeros_like(batch.x), zero, zero + math.inf, zero + (self.rate or math.nan))

    def step(self, oracle: Gradients, state: Chase, t: int) -> Chase:
        answer = oracle.gradient(state.delta, render=Additive(state.x), objective=_margin)
        fraction = (1 + math.cos(math.pi * t / self.steps)) / 2
        gamma = self.gamma * (FINAL_GAMMA + (1 - FINAL_GAMMA) * fraction)
        distance = answer.value.abs() / self._dual(answer.grad).clamp_min(tiny(answer.grad))
        rate = state.rate.where(~state.rate.isnan(), self._length(distance, state.x))
        across, norm = answer.verdict.margin > 0, self.ball.norm(state.delta)
        best = torch.where(across, torch.minimum(state.best, norm), state.best)
        radius = self._radius(state, across, best, norm + distance, gamma)
        stride = rate * (FINAL_RATE + (1 - FINAL_RATE) * fraction)
        moved = state.delta + unit(answer.grad) * rowwise(stride, answer.grad)
        return replace(state, delta=self.ball.project(moved, state.x, radius), radius=radius, best=best, rate=rate)

    def _radius(self, state: Chase, across: Tensor, best: Tensor, reach: Tensor, gamma: float) -> Tensor:
        smaller, larger = state.radius * (1 - gamma), state.radius * (1 + gamma)
        if isinstance(self.ball, L0):
            smaller = torch.minimum(smaller.floor(), state.radius - 1).clamp_min(1)
            larger = torch.maximum(larger.floor(), state.radius + 1)
            reach = larger
        found = best.isfinite()
        radius = torch.where(across, torch.minimum(smaller, best), torch.where(found, larger, reach))
        whole = self.ball.norm(torch.ones_like(state.x[:1]))
        return torch.minimum(radius.nan_to_num(nan=float(whole)), whole)

    def _dual(self, grad: Tensor) -> Tensor:
        size = grad.abs().flatten(1)
        if isinstance(self.ball, Linf):
            return size.sum(1)
        return grad.flatten(1).norm(dim=1) if isinstance(self.ball, L2) else size.amax(1)

    def _length(self, distance: Tensor, x: Tensor) -> Tensor:
        """The L2 length of a perturbation of this size in the attack's norm."""
        length = distance * math.sqrt(x[0].numel()) if isinstance(self.ball, Linf) else distance
        return length.clamp(1e-3, math.sqrt(x[0].numel()))

    def finish(self, oracle: Gradients, state: Chase) -> None:
        oracle.score(state.x + state.delta)


def _margin(verdict: Verdict, images: Tensor) -> Tensor:
    return verdict.margin
