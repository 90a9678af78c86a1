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
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Attack, Batch, Jacobians
from ...errors import ConfigError
from ...geometry import L2, Ball, Linf, rowwise, tiny
from ...geometry.region import Region

SLACK, CREEP = 1e-4, 0.001


@dataclass(frozen=True)
class Path:
    """The way of each row to the boundary."""

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

    norms: ClassVar[tuple[type[Ball], ...]] = (L2, Linf)
    elsewhere: ClassVar[str] = "FMN"
    regional: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1 or self.classes < 2:
            raise ConfigError(f"DeepFool steps={self.steps}, classes={self.classes}; pass at least 1 and 2")

    def init(self, oracle: Jacobians, batch: Batch) -> Path:
        return Path(torch.zeros_like(oracle.region.x))

    def _at(self, region: Region, state: Path) -> Tensor:
        return region.clamp_(region.x + (1 + self.overshoot) * state.walked)

    def step(self, oracle: Jacobians, state: Path, t: int) -> Path:
        region = oracle.region
        at = self._at(region, state)
        answer = oracle.jacobian(at, self.classes - 1)
        norms = region.dual_norm_many(answer.grads).clamp_min_(tiny(at))
        distances = (answer.margins.to(norms.dtype).abs() / norms).nan_to_num(nan=torch.inf)
        distance, nearest = (distances + self._slack(region, state)[:, None]).min(dim=1)
        slope = answer.grads[torch.arange(len(nearest), device=nearest.device), nearest]
        step = region.steepest(slope) * rowwise(distance.nan_to_num(0.0, 0.0, 0.0), slope)
        return Path((at - region.x) / (1 + self.overshoot) + step)

    def _slack(self, region: Region, state: Path) -> Tensor:
        slack = SLACK / region.euclidean_length(torch.ones_like(region.eps))
        return slack + CREEP * region.norm(state.walked) if math.isinf(region.ball.p) else slack

    def finish(self, oracle: Jacobians, state: Path) -> None:
        oracle.score(self._at(oracle.region, state))
