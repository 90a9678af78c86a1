"""The fast gradient sign method (Goodfellow et al. 2015, arXiv:1412.6572, section 4).

    x' = clip(x + eps * sign(grad L(x)))

Targeted goals descend toward the target: the goal's loss rises either way. In L2 and L1 the step goes along
the steepest direction of that norm.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...access import Attack, Batch, Gradients
from ...geometry import Ball


@dataclass(frozen=True)
class Move:
    """A single move from each image."""

    x: Tensor
    delta: Tensor


@dataclass(frozen=True)
class FGSM(Attack[Gradients, Move]):
    """One step to the edge of the ball `ball`."""

    ball: Ball

    def __post_init__(self) -> None:
        self.ball.bounded(self.name)

    @property
    def steps(self) -> int:
        return 1

    def init(self, oracle: Gradients, batch: Batch) -> Move:
        return Move(batch.x, torch.zeros_like(batch.x))

    def step(self, oracle: Gradients, state: Move, t: int) -> Move:
        slope = oracle.gradient(state.x).grad
        edge = self.ball.eps * self.ball.steepest(slope, at=state.x)
        return replace(state, delta=self.ball.project(edge, state.x))

    def finish(self, oracle: Gradients, state: Move) -> None:
        oracle.score(state.x + state.delta)
