"""Momentum iterative FGSM (Dong et al. 2018, arXiv:1710.06081, algorithm 1).

    g_{t+1} = decay * g_t + grad L(x_t) / |grad L(x_t)|_1
    x_{t+1} = Clip_{x, eps} ( x_t + alpha * sign(g_{t+1}) ),  alpha = eps / T

A row whose gradient is zero keeps its momentum. In other norms the step follows their steepest direction.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...access import Attack, Batch, Gradients
from ...errors import ConfigError
from ...geometry import Ball, rowwise, tiny
from ...perturbations import Additive


@dataclass(frozen=True)
class Momentum:
    """Where each row stands, and what it remembers of its gradients."""

    x: Tensor
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

    def __post_init__(self) -> None:
        self.ball.bounded(self.name)
        if self.steps < 1 or self.decay < 0:
            raise ConfigError(f"{self.name} steps={self.steps}, decay={self.decay}; pass steps >= 1 and decay >= 0")

    @property
    def rate(self) -> float:
        return self.ball.eps / self.steps if self.step_size is None else self.step_size

    def init(self, oracle: Gradients, batch: Batch) -> Momentum:
        still = torch.zeros_like(batch.x)
        return Momentum(batch.x, still, still)

    def look(self, state: Momentum) -> Tensor:
        """The perturbation at which the gradient is taken."""
        return state.delta

    def step(self, oracle: Gradients, state: Momentum, t: int) -> Momentum:
        answer = oracle.gradient(self.look(state), render=Additive(state.x))
        length = answer.grad.flatten(1).abs().sum(1).clamp_min(tiny(answer.grad))
        memory = self.decay * state.memory + answer.grad / rowwise(length, answer.grad)
        moved = state.delta.add(self.ball.steepest(memory, at=answer.images), alpha=self.rate)
        return replace(state, delta=self.ball.project(moved, state.x), memory=memory)

    def finish(self, oracle: Gradients, state: Momentum) -> None:
        oracle.score(state.x + state.delta)
