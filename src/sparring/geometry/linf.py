"""The maximum norm: no pixel moves by more than eps."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..random import Key
from .ball import Ball, rowwise


@dataclass(frozen=True)
class Linf(Ball):
    """max_i |delta_i| <= eps."""

    def norm(self, delta: Tensor) -> Tensor:
        return delta.flatten(1).abs().amax(1)

    def steepest(self, grad: Tensor, at: Tensor | None = None) -> Tensor:
        return grad.sign()

    def project_between(
        self, delta: Tensor, lower: Tensor, upper: Tensor, radius: Tensor | None = None
    ) -> Tensor:
        if radius is None:
            return delta.clamp(-self.eps, self.eps).clamp_(lower, upper)
        limit = rowwise(radius, delta)
        return delta.clamp(-limit, limit).clamp_(lower, upper)

    def sample(self, key: Key, x: Tensor, lane: str = "ball") -> Tensor:
        unit = key.uniform(lane, x.shape[1:], dtype=x.dtype)
        return self.project(unit.mul_(2).sub_(1).mul_(self.eps), x)
