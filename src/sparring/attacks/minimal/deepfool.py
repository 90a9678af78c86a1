"""DeepFool (Moosavi-Dezfooli et al. 2016, arXiv:1511.04599, algorithm 2; other norms: section 3.4).

    l   = argmin_k |f_k| / |w_k|_q          f_k, w_k: lead over the label of class k, and its gradient
    r_i = (|f_l| / |w_l|_2 + 1e-4) * w_l / |w_l|_2        in L2, q = 2
    r_i = (|f_l| / |w_l|_1 + slack) * sign(w_l)           in Linf, q = 1
    x'  = x + (1 + overshoot) * sum_i r_i

until x' is across. The 1e-4 is the authors' code's, which keeps rows from ending on the boundary itself.
Departures: x' is kept in the valid range, and what the range cut off is taken out of the sum. In Linf, where 1e-4 can
be half of the whole way, slack is 1e-4 / sqrt(n), of L2 length 1e-4, and 0.001 of the way so far: saturated pixels make
every linearisation promise too much, and steps that only shrink would creep up to the boundary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...access import Attack, Batch, Jacobians
from ...errors import ConfigError, ThreatError
from ...geometry import L2, Ball, Linf, rowwise, tiny

SLACK, CREEP = 1e-4, 0.001


@dataclass(frozen=True)
class Path:
    """The way of each row to the boundary."""

    x: Tensor
    walked: Tensor  # sum of the r_i


@dataclass(frozen=True)
class DeepFool(Attack[Jacobians, Path]):
    """Minimum L2 or Linf norm by walking to the linearised boundary.

    Args:
        steps: linearisations per row at most (50 in the authors' code).
        classes: how many of the nearest classes are looked at (10 in the authors' code, the label included).
        overshoot: 0.02 in the paper.
        ball: L2 or Linf; a finite eps asks for examples within it.
    """

    steps: int = 50
    classes: int = 10
    overshoot: float = 0.02
    ball: Ball = L2()

    def __post_init__(self) -> None:
        if not isinstance(self.ball, L2 | Linf):
            raise ThreatError(f"DeepFool knows L2 and Linf, not {self.ball}; use FMN there")
        if self.steps < 1 or self.classes < 2:
            raise ConfigError(f"DeepFool steps={self.steps}, classes={self.classes}; pass at least 1 and 2")

    def init(self, oracle: Jacobians, batch: Batch) -> Path:
        return Path(batch.x, torch.zeros_like(batch.x))

    def _at(self, state: Path) -> Tensor:
        return (state.x + (1 + self.overshoot) * state.walked).clamp_(0, 1)

    def step(self, oracle: Jacobians, state: Path, t: int) -> Path:
        at = self._at(state)
        answer = oracle.jacobian(at, self.classes - 1)
        linf = isinstance(self.ball, Linf)
        norms = answer.grads.flatten(2).norm(1 if linf else 2, dim=2).clamp_min_(tiny(state.x))
        distances = (answer.margins.to(norms.dtype).abs() / norms).nan_to_num(nan=torch.inf)
        distance, nearest = (distances + self._slack(state)).min(dim=1)
        slope = answer.grads[torch.arange(len(nearest), device=nearest.device), nearest]
        slope, length = (slope.sign(), 1) if linf else (slope, norms.gather(1, nearest[:, None]).squeeze(1))
        scale = (distance / length).nan_to_num(0.0, 0.0, 0.0)
        reached = (at - state.x) / (1 + self.overshoot)
        return replace(state, walked=reached + slope * rowwise(scale, slope))

    def _slack(self, state: Path) -> Tensor | float:
        if isinstance(self.ball, L2):
            return SLACK
        return SLACK / math.sqrt(state.x[0].numel()) + CREEP * self.ball.norm(state.walked)[:, None]

    def finish(self, oracle: Jacobians, state: Path) -> None:
        oracle.score(self._at(state))
