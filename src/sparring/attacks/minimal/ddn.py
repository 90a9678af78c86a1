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
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Attack, Batch, Gradients, Keep
from ...errors import ConfigError, InputError
from ...geometry import L2, Ball, rowwise, tiny, unit
from ...geometry.region import Region
from ...goals import Climb, LogOdds
from ...inputs import Images
from ...perturbations import Additive


@dataclass(frozen=True)
class Sphere:
    """A perturbation, and the radius it is held to."""

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

    norms: ClassVar[tuple[type[Ball], ...]] = (L2,)
    elsewhere: ClassVar[str] = "FMN"
    regional: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1 or not 0 < self.gamma < 1 or self.radius <= 0:
            raise ConfigError(f"DDN steps={self.steps}, gamma={self.gamma}, radius={self.radius}: out of range")

    @property
    def keep(self) -> Keep:
        return Keep.SMALLEST

    def check(self, region: Region) -> None:
        super().check(region)
        if self.levels is not None and not isinstance(region.inputs, Images):
            raise InputError(f"DDN levels={self.levels} quantises pixels; leave it out for {region.inputs.plural}")

    def init(self, oracle: Gradients, batch: Batch) -> Sphere:
        region = oracle.region
        return Sphere(torch.zeros_like(region.x), torch.full_like(region.eps, self.radius * region.inputs.scale))

    def step(self, oracle: Gradients, state: Sphere, t: int) -> Sphere:
        region = oracle.region
        answer = oracle.gradient(state.delta, render=Additive(region.x), loss=self.loss)
        rate = (0.01 + 0.99 * (1 + math.cos(math.pi * t / self.steps)) / 2) * region.inputs.scale
        delta = state.delta.add(unit(region.masked(answer.grad)), alpha=rate)
        across = answer.verdict.margin > 0
        radius = state.radius * torch.where(across, 1 - self.gamma, 1 + self.gamma)
        radius = torch.minimum(radius, region.diameter)
        norm = delta.flatten(1).norm(dim=1).clamp_min(tiny(delta))
        return Sphere(self._valid(region, delta * rowwise(radius / norm, delta)), radius)

    def _valid(self, region: Region, delta: Tensor) -> Tensor:
        image = region.clamp_(delta.add_(region.x))
        if self.levels is not None:
            image = region.clamp_(image.mul_(self.levels - 1).round_().div_(self.levels - 1))
        return image.sub_(region.x)

    def finish(self, oracle: Gradients, state: Sphere) -> None:
        oracle.score(oracle.region.x + state.delta)
