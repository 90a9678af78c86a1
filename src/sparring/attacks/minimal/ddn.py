"""Decoupled direction and norm (Rony et al. 2019, arXiv:1811.09600, algorithm 1).

    g_t     = rate_t * grad L / |grad L|_2
    delta   = delta + g_t                          the direction
    eps_t   = (1 - gamma) eps if the row is across, else (1 + gamma) eps     the norm
    delta   = eps_t * delta / |delta|_2, kept in the valid range

with a cosine schedule of the rate from 1 to 0.01. L is the cross-entropy, whose log-odds are climbed: the same
direction, which does not vanish where the model is sure (a distilled net). Quantising to 256 levels is part of the
paper's attack and an option here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ...access import Attack, Batch, Gradients, Keep
from ...errors import ConfigError, ThreatError
from ...geometry import L2, Ball, rowwise, tiny, unit
from ...goals import Climb, LogOdds
from ...perturbations import Additive


@dataclass(frozen=True)
class Sphere:
    """A perturbation, and the radius it is held to."""

    x: Tensor
    delta: Tensor
    radius: Tensor


@dataclass(frozen=True)
class DDN(Attack[Gradients, Sphere]):
    """Minimum L2 norm at a fixed number of passes.

    Args:
        steps: gradient steps (100, 300 or 1000 in the paper).
        gamma: how fast the radius changes (0.05 in the paper).
        radius: the first radius (1 in the paper).
        levels: quantise to this many levels per pixel (256 in the paper); None: do not.
        loss: what is climbed; None: the goal's own.
        ball: L2; a finite eps asks for examples within it.
    """

    steps: int = 300
    gamma: float = 0.05
    radius: float = 1.0
    levels: int | None = None
    loss: Climb | None = field(default_factory=LogOdds)
    ball: Ball = L2()

    def __post_init__(self) -> None:
        if not isinstance(self.ball, L2):
            raise ThreatError(f"DDN knows L2, not {self.ball}; use FMN there")
        if self.steps < 1 or not 0 < self.gamma < 1 or self.radius <= 0:
            raise ConfigError(f"DDN steps={self.steps}, gamma={self.gamma}, radius={self.radius}: out of range")

    @property
    def keep(self) -> Keep:
        return Keep.SMALLEST

    def init(self, oracle: Gradients, batch: Batch) -> Sphere:
        radius = torch.full_like(batch.x[:, 0, 0, 0], self.radius)
        return Sphere(batch.x, torch.zeros_like(batch.x), radius)

    def step(self, oracle: Gradients, state: Sphere, t: int) -> Sphere:
        answer = oracle.gradient(state.delta, render=Additive(state.x), loss=self.loss)
        rate = 0.01 + 0.99 * (1 + math.cos(math.pi * t / self.steps)) / 2
        delta = state.delta.add(unit(answer.grad), alpha=rate)
        across = answer.verdict.margin > 0
        radius = state.radius * torch.where(across, 1 - self.gamma, 1 + self.gamma)
        radius = radius.clamp(max=math.sqrt(delta[0].numel()))
        norm = delta.flatten(1).norm(dim=1).clamp_min(tiny(delta))
        delta = self._valid(delta * rowwise(radius / norm, delta), state.x)
        return replace(state, delta=delta, radius=radius)

    def _valid(self, delta: Tensor, x: Tensor) -> Tensor:
        image = (x + delta).clamp_(0, 1)
        if self.levels is not None:
            image = image.mul_(self.levels - 1).round_().div_(self.levels - 1)
        return image - x

    def finish(self, oracle: Gradients, state: Sphere) -> None:
        oracle.score(state.x + state.delta)
