"""The Linf ball: the maximum norm, no component changes by more than eps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..random import Key
from .ball import Ball, Bound, Radius, rowwise
from .hyperplane import spread_evenly
from .l1 import L1


@dataclass(frozen=True)
class Linf(Ball):
    """max_i |delta_i| <= eps."""

    p: ClassVar[float] = math.inf

    def __str__(self) -> str:
        levels = self.eps * 255  # as the field writes them
        whole = 0 < levels <= 254 and abs(levels - round(levels)) < 1e-9
        return f"Linf({round(levels)}/255)" if whole else super().__str__()

    def norm(self, delta: Tensor) -> Tensor:
        return delta.flatten(1).abs().amax(1)

    def dual_norm(self, grad: Tensor) -> Tensor:
        return grad.flatten(1).abs().sum(1)

    def steepest(
        self, grad: Tensor, at: Tensor | None = None, movable: Tensor | None = None, dimension: Tensor | None = None
    ) -> Tensor:
        return grad.sign()

    def euclidean_length(self, distance: Tensor, dimension: Tensor) -> Tensor:
        return distance * dimension.sqrt()

    def project(self, delta: Tensor, x: Tensor, radius: Tensor | None = None) -> Tensor:
        if radius is not None:
            return self.project_between(delta, -x, 1 - x, radius)
        return delta.clamp(-self.eps, self.eps).add_(x).clamp_(0, 1).sub_(x)  # the same, in one buffer

    def step_(self, grad: Tensor, images: Tensor, rate: Radius) -> Tensor:
        """As in the base class, in the memory of `grad`."""
        sign = grad.sign_() if grad.is_contiguous() else grad.sign()  # a broadcast gradient has no memory of its own
        if isinstance(rate, Tensor):
            return torch.addcmul(images, sign, rowwise(rate, sign), out=sign)
        return torch.add(images, sign, alpha=rate, out=sign)

    def project_between(self, delta: Tensor, lower: Bound, upper: Bound, radius: Tensor | None = None) -> Tensor:
        limit = self.eps if radius is None else rowwise(radius.to(delta.dtype), delta)
        return delta.clamp(-limit, limit).clamp_(lower, upper)  # type: ignore[arg-type]

    def joint_box(self, x: Tensor, low: Bound, high: Bound, radius: Radius) -> tuple[Tensor, Tensor] | None:
        edge = rowwise(radius.to(x.dtype), x) if isinstance(radius, Tensor) else radius
        return (x - edge).clamp_(min=low), (x + edge).clamp_(max=high)

    def draw(
        self, key: Key, x: Tensor, radius: Radius, free: Tensor | None, fresh: Callable[[], Tensor], stream: str
    ) -> Tensor:
        radius = rowwise(radius, x) if isinstance(radius, Tensor) else radius
        drawn = key.uniform(stream, x.shape[1:], dtype=x.dtype).mul_(2).sub_(1).mul_(radius)
        return drawn if free is None else drawn.where(free, 0)

    def direction(self, key: Key, x: Tensor, free: Tensor | None, stream: str) -> Tensor:
        """A random perturbation of norm 1: components uniform in a cube, scaled."""
        noise = self.draw(key, x, 1.0, free, lambda: x, stream)
        return noise.div_(rowwise(self.norm(noise).clamp_min(torch.finfo(x.dtype).tiny), x))

    def sample(self, key: Key, x: Tensor, stream: str = "ball") -> Tensor:
        return self.project(self.draw(key, x, self.eps, None, lambda: x, stream), x)

    def shrink(self, delta: Tensor, share: Tensor) -> Tensor:
        limit = rowwise(share * self.norm(delta), delta)
        return delta.clamp(-limit, limit)

    def onto_hyperplane(self, slope: Tensor, gain: Tensor, lower: Bound, upper: Bound) -> Tensor:
        return spread_evenly(slope, (slope != 0).to(slope.dtype), gain, lower, upper)

    def prox(self, delta: Tensor, weight: Tensor) -> Tensor:
        return delta - L1().project_between(delta, -math.inf, math.inf, weight)  # Moreau's decomposition

    def squash(self, values: Tensor) -> Tensor:
        return self.eps * values.tanh()
