"""Linf: the largest absolute value of a perturbation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..random import Key
from ..shapes import BoolBatch, FloatBatch, FloatPerRow
from .ball import Ball, Bound, Radius, rowwise
from .hyperplane import spread_evenly
from .l1 import L1


@dataclass(frozen=True)
class Linf(Ball):
    """The Linf ball, max_i |delta_i| <= eps."""

    p: ClassVar[float] = math.inf

    def __str__(self) -> str:
        levels = self.eps * 255  # as the field writes them
        whole = 0 < levels <= 254 and abs(levels - round(levels)) < 1e-9
        return f"Linf({round(levels)}/255)" if whole else super().__str__()

    def norm(self, delta: FloatBatch) -> FloatPerRow:
        """Return the largest |delta| (B,)."""
        return delta.flatten(1).abs().amax(1)

    def dual_norm(self, grad: FloatBatch) -> FloatPerRow:
        """Return the sums (B,) of |gradient|, the dual norm of Linf."""
        return grad.flatten(1).abs().sum(1)

    def steepest(
        self,
        grad: FloatBatch,
        at: FloatBatch | None = None,
        movable: BoolBatch | None = None,
        dimension: FloatPerRow | None = None,
    ) -> FloatBatch:
        """Return the signs of the gradient."""
        return grad.sign()

    def euclidean_length(self, distance: FloatPerRow, dimension: FloatPerRow) -> FloatPerRow:
        """Return `distance` (B,) * sqrt(`dimension` (B,)): a step moves every component by the same amount."""
        return distance * dimension.sqrt()

    def project(self, delta: FloatBatch, x: FloatBatch, radius: FloatPerRow | None = None) -> FloatBatch:
        """Clip delta (B, ...) to the ball, then x + delta to [0, 1]; `radius` (B,) replaces eps row by row."""
        if radius is not None:
            return self.project_between(delta, -x, 1 - x, radius)
        return delta.clamp(-self.eps, self.eps).add_(x).clamp_(0, 1).sub_(x)  # the same, in one buffer

    def step_(self, grad: FloatBatch, images: FloatBatch, rate: Radius) -> FloatBatch:
        """Return what the base class does, in the memory of `grad`."""
        sign = grad.sign_() if grad.is_contiguous() else grad.sign()  # a broadcast gradient has no memory of its own
        if isinstance(rate, Tensor):
            return torch.addcmul(images, sign, rowwise(rate, sign), out=sign)
        return torch.add(images, sign, alpha=rate, out=sign)

    def project_between(
        self, delta: FloatBatch, lower: Bound, upper: Bound, radius: FloatPerRow | None = None
    ) -> FloatBatch:
        """Clip delta (B, ...) to the ball, then to the box lower <= 0 <= upper."""
        limit = self.eps if radius is None else rowwise(radius.to(delta.dtype), delta)
        return delta.clamp(-limit, limit).clamp_(lower, upper)  # type: ignore[arg-type]

    def joint_box(self, x: FloatBatch, low: Bound, high: Bound, radius: Radius) -> tuple[FloatBatch, FloatBatch] | None:
        """Return max(x - radius, low) and min(x + radius, high), both (B, ...)."""
        edge = rowwise(radius.to(x.dtype), x) if isinstance(radius, Tensor) else radius
        return (x - edge).clamp_(min=low), (x + edge).clamp_(max=high)

    def draw(
        self,
        key: Key,
        x: FloatBatch,
        radius: Radius,
        free: BoolBatch | None,
        fresh: Callable[[], FloatBatch],
        stream: str,
    ) -> FloatBatch:
        """Draw every free component uniformly from [-radius, radius]."""
        radius = rowwise(radius, x) if isinstance(radius, Tensor) else radius
        drawn = key.uniform(stream, x.shape[1:], dtype=x.dtype).mul_(2).sub_(1).mul_(radius)
        return drawn if free is None else drawn.where(free, 0)

    def direction(self, key: Key, x: FloatBatch, free: BoolBatch | None, stream: str) -> FloatBatch:
        """Draw a perturbation (B, ...) of norm 1 in the `free` components: uniform in a cube, scaled."""
        noise = self.draw(key, x, 1.0, free, lambda: x, stream)
        return noise.div_(rowwise(self.norm(noise).clamp_min(torch.finfo(x.dtype).tiny), x))

    def sample(self, key: Key, x: FloatBatch, stream: str = "ball") -> FloatBatch:
        """Draw a perturbation (B, ...) uniformly from the ball, then project it onto the valid range [0, 1]."""
        return self.project(self.draw(key, x, self.eps, None, lambda: x, stream), x)

    def shrink(self, delta: FloatBatch, share: FloatPerRow) -> FloatBatch:
        """Clip delta (B, ...) to `share` (B,) of its norm."""
        limit = rowwise(share * self.norm(delta), delta)
        return delta.clamp(-limit, limit)

    def onto_hyperplane(self, slope: FloatBatch, gain: FloatPerRow, lower: Bound, upper: Bound) -> FloatBatch:
        """Return the smallest perturbation in Linf that gains `gain` (B,): see `hyperplane.spread_evenly`."""
        return spread_evenly(slope, (slope != 0).to(slope.dtype), gain, lower, upper)

    def prox(self, delta: FloatBatch, weight: FloatPerRow) -> FloatBatch:
        """Return delta less its projection onto the L1 ball of radius `weight` (B,) (Moreau's decomposition)."""
        return delta - L1().project_between(delta, -math.inf, math.inf, weight)  # Moreau's decomposition

    def squash(self, values: FloatBatch) -> FloatBatch:
        """Return eps * tanh(v) for values v (B, ...)."""
        return self.eps * values.tanh()
