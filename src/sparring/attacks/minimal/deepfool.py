"""DeepFool (Moosavi-Dezfooli et al. 2016, arXiv:1511.04599, algorithm 2; other norms: section 3.4).

    l   = argmin_k |f_k| / |w_k|_q          f_k, w_k: lead over the label of class k, and its gradient
    r_i = (|f_l| / |w_l|_2 + 1e-4) * w_l / |w_l|_2        in L2, q = 2
    r_i = (|f_l| / |w_l|_1 + slack) * sign(w_l)           in Linf, q = 1
    x'  = x + (1 + overshoot) * sum_i r_i

until x' succeeds. The 1e-4 is the authors' code's, which keeps rows from ending on the boundary itself.
Departures: x' is kept in the valid range, and what the range cut off is taken out of the sum. In Linf, where 1e-4 can
be half of the whole way, slack is 1e-4 / sqrt(n), of L2 length 1e-4, and 0.001 of the way so far: saturated pixels make
every linearisation promise too much, and steps that only shrink would creep up to the boundary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from ...access import Attack, Batch, Bounds, Jacobians, NonNegativeFloat, PositiveInt
from ...geometry import L2, Ball, Linf, rowwise
from ...geometry.region import Region
from .linear_boundary import nearest_boundary

SLACK, RELATIVE_SLACK = 1e-4, 0.001


@dataclass(frozen=True)
class DeepFoolState:
    """The iterate of each row on its way to the boundary."""

    total: Tensor  # (B, ...) the sum of the r_i


@dataclass(frozen=True)
class DeepFool(Attack[Jacobians, DeepFoolState]):
    """Find a small L2 or Linf norm by steps to the linearised boundary.

    Args:
        ball: L2 or Linf; a finite eps asks for examples within it.
        steps: linearisations per row at most (50 in the authors' code).
        candidates: the number of most likely classes that are considered, the label included (10 in the authors' code).
        overshoot: the share by which a step goes beyond the boundary (0.02 in the paper).
    """

    ball: Ball = L2()
    steps: PositiveInt = 50
    candidates: Annotated[int, Bounds(ge=2)] = 10
    overshoot: NonNegativeFloat = 0.02

    norms: ClassVar[tuple[type[Ball], ...]] = (L2, Linf)
    alternative: ClassVar[str] = "FMN"
    uses_region: ClassVar[bool] = True

    @property
    def queries_outside_ball(self) -> bool:
        """True: it goes to the boundary, wherever that lies."""
        return True

    def init(self, oracle: Jacobians, batch: Batch) -> DeepFoolState:
        return DeepFoolState(torch.zeros_like(oracle.region.x))

    def _image(self, region: Region, state: DeepFoolState) -> Tensor:
        return region.clamp_(region.x + (1 + self.overshoot) * state.total)

    def step(self, oracle: Jacobians, state: DeepFoolState, t: int) -> DeepFoolState:
        region, image = oracle.region, self._image(oracle.region, state)
        boundary, distance = nearest_boundary(region, oracle.jacobian(image, self.candidates - 1))
        length = (distance + self._slack(region, state)).nan_to_num(0.0, 0.0, 0.0)
        step = region.steepest(boundary.grad) * rowwise(length, image)
        return DeepFoolState((image - region.x) / (1 + self.overshoot) + step)

    def _slack(self, region: Region, state: DeepFoolState) -> Tensor:
        slack = SLACK / region.euclidean_length(torch.ones_like(region.eps))
        return slack + RELATIVE_SLACK * region.norm(state.total) if math.isinf(region.ball.p) else slack

    def finish(self, oracle: Jacobians, state: DeepFoolState) -> None:
        oracle.score(self._image(oracle.region, state))
