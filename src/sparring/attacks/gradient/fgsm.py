"""The fast gradient sign method (Goodfellow et al. 2015, arXiv:1412.6572, section 4).

    x' = clip(x + eps * sign(grad L(x)))

The loss of a targeted goal rises toward the target, so it is ascended as well. In L2 and L1 the step goes along the
steepest direction of that norm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Attack, Batch, Gradients
from ...geometry import Ball, rowwise


@dataclass(frozen=True)
class FGSMState:
    """The perturbation of each row: delta (B, ...)."""

    delta: Tensor


@dataclass(frozen=True)
class FGSM(Attack[Gradients, FGSMState]):
    """Take one steepest step of length eps.

    Args:
        ball: Linf in the paper, with a finite eps; L2 and L1 work as well.
    """

    ball: Ball

    spends_radius: ClassVar[bool] = True
    uses_region: ClassVar[bool] = True

    @property
    def steps(self) -> int:
        return 1

    def init(self, oracle: Gradients, batch: Batch) -> FGSMState:
        return FGSMState(torch.zeros_like(oracle.region.x))

    def step(self, oracle: Gradients, state: FGSMState, t: int) -> FGSMState:
        region = oracle.region
        direction = region.steepest(oracle.gradient(region.x).grad, at=region.x)
        return FGSMState(region.project(direction * rowwise(region.eps, direction)))

    def finish(self, oracle: Gradients, state: FGSMState) -> None:
        oracle.score(oracle.region.x + state.delta)
