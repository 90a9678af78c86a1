"""The fast gradient sign method (Goodfellow et al. 2015, arXiv:1412.6572, section 4).

    x' = clip(x + eps * sign(grad L(x)))

Targeted goals descend toward the target: the goal's loss rises either way. In L2 and L1 the step goes along
the steepest direction of that norm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Attack, Batch, Gradients
from ...geometry import Ball, rowwise


@dataclass(frozen=True)
class Move:
    """A single perturbation of each input."""

    delta: Tensor


@dataclass(frozen=True)
class FGSM(Attack[Gradients, Move]):
    """One step to the edge of the ball `ball`."""

    ball: Ball

    spends_radius: ClassVar[bool] = True
    regional: ClassVar[bool] = True

    @property
    def steps(self) -> int:
        return 1

    def init(self, oracle: Gradients, batch: Batch) -> Move:
        return Move(torch.zeros_like(oracle.region.x))

    def step(self, oracle: Gradients, state: Move, t: int) -> Move:
        region = oracle.region
        edge = region.steepest(oracle.gradient(region.x).grad, at=region.x)
        return Move(region.project(edge * rowwise(region.eps, edge)))

    def finish(self, oracle: Gradients, state: Move) -> None:
        oracle.score(oracle.region.x + state.delta)
