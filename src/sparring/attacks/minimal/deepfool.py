"""DeepFool (Moosavi-Dezfooli et al. 2016, arXiv:1511.04599, algorithm 2).

    l   = argmin_k |f_k| / |w_k|_2          f_k, w_k: lead over the label of class k, and its gradient
    r_i = (|f_l| / |w_l|_2 + 1e-4) * w_l / |w_l|_2
    x'  = x + (1 + overshoot) * sum_i r_i

until x' is across. The 1e-4 is the authors' code's, which keeps rows from ending on the boundary itself.
Departure: x' is kept in the valid range, and what the range cut off is taken out of the sum.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...access import Attack, Batch, Jacobians
from ...errors import ConfigError, ThreatError
from ...geometry import L2, Ball, rowwise, tiny

SLACK = 1e-4


@dataclass(frozen=True)
class Path:
    """The way of each row to the boundary."""

    x: Tensor
    walked: Tensor  # sum of the r_i


@dataclass(frozen=True)
class DeepFool(Attack[Jacobians, Path]):
    """Minimum L2 norm by walking to the linearised boundary.

    Args:
        steps: linearisations per row at most (50 in the authors' code).
        classes: how many of the nearest classes are looked at (10 in the authors' code, the label included).
        overshoot: 0.02 in the paper.
        ball: L2; a finite eps asks for examples within it.
    """

    steps: int = 50
    classes: int = 10
    overshoot: float = 0.02
    ball: Ball = L2()

    def __post_init__(self) -> None:
        if not isinstance(self.ball, L2):
            raise ThreatError(f"DeepFool knows L2, not {self.ball}")
        if self.steps < 1 or self.classes < 2:
            raise ConfigError(f"DeepFool steps={self.steps}, classes={self.classes}; pass at least 1 and 2")

    def init(self, oracle: Jacobians, batch: Batch) -> Path:
        return Path(batch.x, torch.zeros_like(batch.x))

    def _at(self, state: Path) -> Tensor:
        return (state.x + (1 + self.overshoot) * state.walked).clamp_(0, 1)

    def step(self, oracle: Jacobians, state: Path, t: int) -> Path:
        at = self._at(state)
        answer = oracle.jacobian(at, self.classes - 1)
        norms = answer.grads.flatten(2).norm(dim=2).clamp_min_(tiny(state.x))
        distances = (answer.margins.to(norms.dtype).abs() / norms + SLACK).nan_to_num(nan=torch.inf)
        distance, nearest = distances.min(dim=1)
        slope = answer.grads[torch.arange(len(nearest), device=nearest.device), nearest]
        scale = (distance / norms.gather(1, nearest[:, None]).squeeze(1)).nan_to_num(0.0, 0.0, 0.0)
        reached = (at - state.x) / (1 + self.overshoot)
        return replace(state, walked=reached + slope * rowwise(scale, slope))

    def finish(self, oracle: Jacobians, state: Path) -> None:
        oracle.score(self._at(state))
