"""The maximum norm: no pixel moves by more than eps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..random import Key
from .ball import Ball, Region, rowwise


@dataclass(frozen=True)
class Linf(Ball):
    """max_i |delta_i| <= eps."""

    def __str__(self) -> str:
        levels = self.eps * 255  # as the field writes them
        whole = 0 < levels <= 254 and abs(levels - round(levels)) < 1e-9
        return f"Linf({round(levels)}/255)" if whole else super().__str__()

    def norm(self, delta: Tensor) -> Tensor:
        return delta.flatten(1).abs().amax(1)

    def steepest(self, grad: Tensor, at: Tensor | None = None) -> Tensor:
        return grad.sign()

    def project(self, delta: Tensor, x: Tensor, radius: Tensor | None = None) -> Tensor:
        if radius is not None:
            return self.project_between(delta, -x, 1 - x, radius)
        return delta.clamp(-self.eps, self.eps).add_(x).clamp_(0, 1).sub_(x)  # the same, in one buffer

    def region(self, x: Tensor) -> Region:
        return Region(x, (x - self.eps).clamp_(min=0), (x + self.eps).clamp_(max=1))

    def nearest_(self, images: Tensor, region: Region) -> Tensor:
        return images.clamp_(region.lower, region.upper)

    def ascend_(self, grad: Tensor, images: Tensor, rate: float, region: Region) -> Tensor:
        sign = grad.sign_() if grad.is_contiguous() else grad.sign()  # a broadcast gradient has no memory of its own
        moved = torch.add(images, sign, alpha=rate, out=sign)
        return self.nearest_(moved, region)

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
