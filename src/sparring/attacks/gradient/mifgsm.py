"""Momentum iterative FGSM (Dong et al. 2018, arXiv:1710.06081, algorithm 1).

    g_{t+1} = decay * g_t + grad L(x_t) / |grad L(x_t)|_1
    x_{t+1} = Clip_{x, eps} ( x_t + alpha * sign(g_{t+1}) ),  alpha = eps / T

A row whose gradient is zero keeps its momentum. In other norms the step follows their steepest direction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Attack, Batch, Gradients
from ...errors import ConfigError
from ...geometry import Ball, rowwise, tiny
from ...geometry.region import Region
from ...perturbations import Additive


@dataclass(frozen=True)
class Momentum:
    """The perturbation of each row, and what it remembers of its gradients."""

    delta: Tensor
    memory: Tensor


@dataclass(frozen=True)
class MIFGSM(Attack[Gradients, Momentum]):
    """BIM with a memory, for transfer.

    Args:
        ball: Linf in the paper; L2 and L1 work as well.
        steps: T (10 in the paper).
        decay: of the memory (1.0 in the paper).
        step_size: alpha; None: eps / steps.
    """

    ball: Ball
    steps: int = 10
    decay: float = 1.0
    step_size: float | None = None

    spends_radius: ClassVar[bool] = True
    regional: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1 or self.decay < 0:
            raise ConfigError(f"{self.name} steps={self.steps}, decay={self.decay}; pass steps >= 1 and decay >= 0")

    def rate(self, region: Region) -> Tensor:
        """(B,) the size of a step."""
        return region.eps / self.steps if self.step_size is None else torch.full_like(region.eps, self.step_size)

    def init(self, oracle: Gradients, batch: Batch) -> Momentum:
        still = torch.zeros_like(oracle.region.x)
        return Momentum(still, still)

    def look(self, region: Region, state: Momentum) -> Tensor:
        """The perturbation at which the gradient is taken."""
        return state.delta

    def step(self, oracle: Gradients, state: Momentum, t: int) -> Momentum:
        region = oracle.region
        answer = oracle.gradient(self.look(region, state), render=Additive(region.x))
        grad = region.masked(answer.grad)
        length = grad.flatten(1).abs().sum(1).clamp_min(tiny(grad))
        memory = self.decay * state.memory + grad / rowwise(length, grad)
        moved = state.delta + region.steepest(memory, at=answer.images) * rowwise(self.rate(region), memory)
        return Momentum(region.project(moved), memory)

    def finish(self, oracle: Gradients, state: Momentum) -> None:
        oracle.score(oracle.region.x + state.delta)
