"""L2: the Euclidean length of a perturbation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..random import Key
from ..shapes import BoolBatch, FloatBatch, FloatPerRow, FloatRows
from .ball import Ball, Bound, Radius, radii, rowwise, taken, tiny
from .hyperplane import spread_evenly

SWEEPS = 40  # most Newton steps of the search for a scale, which takes two or three
WIDTH = 4  # roundings of the radius by which the search aims below it, and within which it has found its aim


def lengths(values: FloatBatch) -> FloatPerRow:
    """Return the (B,) Euclidean norms of (B, ...) values, also where their squares underflow or overflow.

    On a CPU one pass does it, unless a norm lies near either end of the range of its dtype. On other devices, where a
    look at the result has to wait for it, the values are always divided by their largest first.
    """
    flat = values.flatten(1)
    if (plain := _plain_lengths(flat)) is not None:
        return plain
    if not flat.numel():
        return flat.sum(1)
    peak = flat.abs().amax(1).clamp_min_(tiny(flat))
    scaled: Tensor = torch.linalg.vector_norm(flat / peak[:, None], dim=1)
    return scaled * peak


def _plain_lengths(flat: FloatRows) -> FloatPerRow | None:
    """Return the (B,) norms of rows (B, n) on a CPU; None where one is 0, or so small or large that squares fail."""
    if flat.device.type != "cpu" or not flat.numel():
        return None
    plain: Tensor = torch.linalg.vector_norm(flat, dim=1)
    low, high = plain.aminmax()
    safe = float(low) > torch.finfo(flat.dtype).tiny ** 0.5 * 1e6 and float(high) < math.inf
    return plain if safe else None


def unit(direction: FloatBatch) -> FloatBatch:
    """Return the (B, ...) values scaled to L2 norm 1 row by row; a row of zeros stays zero."""
    peak = direction.flatten(1).abs().amax(1).clamp_min_(tiny(direction))
    scaled = direction / rowwise(peak, direction)
    length: Tensor = scaled.flatten(1).norm(dim=1)
    return scaled.div_(rowwise(length.clamp_min_(tiny(direction)), direction))


@dataclass(frozen=True)
class L2(Ball):
    """The L2 ball, sqrt(sum_i delta_i^2) <= eps."""

    p: ClassVar[float] = 2.0

    def norm(self, delta: FloatBatch) -> FloatPerRow:
        """Return the Euclidean lengths (B,) of the perturbations (B, ...)."""
        length: Tensor = delta.flatten(1).norm(dim=1)
        return length

    def dual_norm(self, grad: FloatBatch) -> FloatPerRow:
        """Return the Euclidean lengths (B,) of the gradients (B, ...), tiny and huge ones too."""
        return lengths(grad)

    def steepest(
        self,
        grad: FloatBatch,
        at: FloatBatch | None = None,
        movable: BoolBatch | None = None,
        dimension: FloatPerRow | None = None,
    ) -> FloatBatch:
        """Return the gradient scaled to L2 norm 1; a row of zeros stays zero."""
        return unit(grad)

    def project_between(
        self, delta: FloatBatch, lower: Bound, upper: Bound, radius: FloatPerRow | None = None
    ) -> FloatBatch:
        """Project exactly: clip(s * delta) with the largest s <= 1 whose norm fits (see `_fit`)."""
        limit = radii(self.eps, radius, delta)
        inside = torch.clamp(delta, lower, upper)  # type: ignore[arg-type]
        length = self.norm(inside)
        rows = (length > limit).nonzero().squeeze(1)
        if len(rows) == 0:
            return inside
        if len(rows) == len(delta):
            return _fit(delta, lower, upper, inside, length, limit)
        near = _fit(delta[rows], taken(lower, rows), taken(upper, rows), inside[rows], length[rows], limit[rows])
        return inside.index_copy_(0, rows, near)

    def nearest_within_(
        self,
        images: FloatBatch,
        x: FloatBatch,
        low: Bound,
        high: Bound,
        bounds: Callable[[], tuple[Bound, Bound]],
        limit: FloatPerRow,
        memory: tuple[FloatBatch, FloatBatch],
    ) -> FloatBatch:
        """Return what the base class does, in the memory of `images`: an allocation costs as much as a pass."""
        inside, scaled = memory
        torch.clamp(images, low, high, out=inside)  # type: ignore[arg-type]
        length: Tensor = torch.linalg.vector_norm(inside.sub_(x).flatten(1), dim=1)
        rows = (length > limit).nonzero().squeeze(1)
        if len(rows) == 0:
            return torch.clamp_(images, low, high)  # type: ignore[arg-type]
        lower, upper = bounds()
        if len(rows) == len(x):
            return torch.add(_fit(images.sub_(x), lower, upper, inside, length, limit, scaled), x, out=images)
        origin = x[rows]
        way = images[rows].sub_(origin)
        near = _fit(way, taken(lower, rows), taken(upper, rows), inside[rows], length[rows], limit[rows])
        return torch.clamp_(images, low, high).index_copy_(0, rows, near.add_(origin))  # type: ignore[arg-type]

    def step_(self, grad: FloatBatch, images: FloatBatch, rate: Radius) -> FloatBatch:
        """Return what the base class does; on a CPU in the memory of `grad`, in two passes: its norm and the step."""
        if grad.is_contiguous() and (length := _plain_lengths(grad.flatten(1))) is not None:
            return torch.addcmul(images, grad, rowwise(rate / length, grad), out=grad)
        return super().step_(grad, images, rate)

    def draw(
        self,
        key: Key,
        x: FloatBatch,
        radius: Radius,
        free: BoolBatch | None,
        fresh: Callable[[], FloatBatch],
        stream: str,
    ) -> FloatBatch:
        """Draw a perturbation uniformly from the L2 ball: a normal direction, of length radius * u^(1/n)."""
        direction = key.normal(stream, x.shape[1:], dtype=x.dtype)
        share = key.uniform(f"{stream} radius", (1,), dtype=x.dtype).view(-1)
        if free is None:
            length = share ** (1 / x[0].numel())
        else:
            direction = direction.where(free, 0)
            length = share ** (1 / free.flatten(1).sum(1).clamp_min(1)).to(x.dtype)
        return unit(direction).mul_(rowwise(length * radius, x))

    def sample(self, key: Key, x: FloatBatch, stream: str = "ball") -> FloatBatch:
        """Draw a perturbation (B, ...) uniformly from the ball, then project it onto the valid range [0, 1]."""
        return self.project(self.draw(key, x, self.eps, None, lambda: x, stream), x)

    def shrink(self, delta: FloatBatch, share: FloatPerRow) -> FloatBatch:
        """Return `share` (B,) * delta."""
        return delta * rowwise(share, delta)

    def onto_hyperplane(self, slope: FloatBatch, gain: FloatPerRow, lower: Bound, upper: Bound) -> FloatBatch:
        """Return the smallest perturbation in L2 that gains `gain` (B,): see `hyperplane.spread_evenly`."""
        return spread_evenly(slope, slope.abs(), gain, lower, upper)

    def prox(self, delta: FloatBatch, weight: FloatPerRow) -> FloatBatch:
        """Return delta shortened by `weight` (B,), and no farther than to 0."""
        length = rowwise(self.norm(delta).clamp_min(tiny(delta)), delta)
        return delta * (1 - rowwise(weight, delta) / length).clamp_min(0)

    def squash(self, values: FloatBatch) -> FloatBatch:
        """Return eps * v / sqrt(1 + |v|_2^2) for values v (B, ...)."""
        length = values.flatten(1).square().sum(1).add(1).sqrt()
        return self.eps * values / rowwise(length, values)


def _fit(
    delta: FloatBatch,
    lower: Bound,
    upper: Bound,
    point: FloatBatch,
    length: FloatPerRow,
    limit: FloatPerRow,
    memory: FloatBatch | None = None,
) -> Tensor:
    """Return clip(s * delta) of norm `limit` (B,), with s (B,) in [0, 1], in the memory of `point`.

    `point` holds clip(delta), of norm `length` (B,), above the limit; `memory` is like it, and may be overwritten.

    The squared norm H(t) of clip(sqrt(t) * delta) is concave and piecewise linear in t, with the sum of delta^2 over
    what is not clipped as its slope. So Newton's method leads from t = 1 to below the root and from there up to it, and
    its last step is exact.
    """
    scaled = torch.empty_like(point) if memory is None else memory
    rounding = WIDTH * torch.finfo(limit.dtype).eps
    aim, slack = limit * (1 - rounding), limit * rounding
    at: Any = 1.0
    gap, settled = aim - length, None
    torch.eq(point, delta, out=scaled)  # 1 where nothing is clipped; as floats, since bools take three times as long
    for _ in range(SWEEPS):
        slope = torch.linalg.vector_norm(scaled.mul_(delta).flatten(1), dim=1)  # its square is that of H
        moved = (gap / slope).mul_(length.add_(aim).div_(slope)).add_(at).clamp_min_(0)
        at = moved if settled is None else torch.where(settled, at, moved)
        torch.mul(delta, rowwise(at.sqrt(), delta), out=scaled)
        torch.clamp(scaled, lower, upper, out=point)  # type: ignore[arg-type]
        length = torch.linalg.vector_norm(point.flatten(1), dim=1)
        gap = aim - length
        settled = gap.abs() <= slack
        if bool(settled.all()):
            return point
        torch.eq(point, scaled, out=scaled)
    return point.mul_(rowwise((limit / length).clamp_max_(1), point))  # which is within the ball, if not the nearest
