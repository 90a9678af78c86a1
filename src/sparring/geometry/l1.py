"""L1: the sum of the absolute values of a perturbation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..errors import ThreatError
from ..random import Key
from ..shapes import BoolBatch, FloatBatch, FloatPerRow
from .ball import Ball, Bound, Radius, outward, radii, rowwise, tiny
from .hyperplane import steepest_first
from .l0 import following

SWEEPS = 64  # Newton with a bracket: it needs about ten


@dataclass(frozen=True)
class L1(Ball):
    """The L1 ball, sum_i |delta_i| <= eps.

    `share` in (0, 1] is the part of the components that one steepest step moves: 1 - q in SLIDE (Tramer & Boneh 2019).
    """

    share: float = 0.01

    p: ClassVar[float] = 1.0
    sparse: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.share <= 1:
            raise ThreatError(f"L1 share {self.share!r} is not a part of the pixels; pass a number in (0, 1]")

    def norm(self, delta: FloatBatch) -> FloatPerRow:
        """Return the sums (B,) of |delta|."""
        return delta.flatten(1).abs().sum(1)

    def dual_norm(self, grad: FloatBatch) -> FloatPerRow:
        """Return the largest |gradient| (B,), the dual norm of L1."""
        return grad.flatten(1).abs().amax(1)

    def steepest(
        self,
        grad: FloatBatch,
        at: FloatBatch | None = None,
        movable: BoolBatch | None = None,
        dimension: FloatPerRow | None = None,
    ) -> FloatBatch:
        """Return the signs of the largest `share` of the gradient, of L1 norm 1 (Tramer & Boneh 2019, section 4).

        With one coordinate this is steepest ascent in L1; more of them make progress in fewer passes.
        """
        flat = following(grad, at, movable).flatten(1)
        if dimension is None:
            least = flat.topk(max(1, round(self.share * flat.shape[1])), dim=1).values[:, -1:]
        else:
            count = (self.share * dimension).round().clamp_min(1).long()[:, None]
            least = flat.topk(int(count.amax()), dim=1).values.gather(1, count - 1)
        chosen = (flat >= least.clamp_min_(tiny(grad))).view_as(grad)
        step = grad.sign() * chosen
        return step / rowwise(chosen.flatten(1).sum(1).clamp_min(1), grad)

    def project_between(
        self, delta: FloatBatch, lower: Bound, upper: Bound, radius: FloatPerRow | None = None
    ) -> FloatBatch:
        """Project exactly: sign(delta) * clip(|delta| - t, 0, bound) (Croce & Hein 2021, proposition 2.1).

        t >= 0 solves a decreasing piecewise linear equation: Newton's step, or the middle of the bracket
        where that leaves it, until the sum is eps.
        """
        limit = radii(self.eps, radius, delta)
        bound = outward(delta, lower, upper).flatten(1)
        size = delta.abs().flatten(1)
        low, high = torch.zeros_like(limit), size.amax(1)
        shift = torch.zeros_like(limit)
        over = torch.minimum(size, bound).sum(1) > limit
        for _ in range(SWEEPS if bool(over.any()) else 0):
            kept = (size - shift[:, None]).clamp_min_(0)
            nonzero_gradient = ((kept > 0) & (kept < bound)).sum(1)
            excess = torch.minimum(kept, bound).sum(1) - limit
            low, high = torch.where(excess > 0, shift, low), torch.where(excess <= 0, shift, high)
            newton = shift + excess / nonzero_gradient.clamp_min(1)
            inside = (newton > low) & (newton < high) & (nonzero_gradient > 0)
            moved = torch.where(over, torch.where(inside, newton, (low + high) / 2), shift)
            settled = (excess.abs() <= 4 * torch.finfo(delta.dtype).eps * limit) | ~over
            moved = torch.where(settled, shift, moved)
            if torch.equal(moved, shift):
                break
            shift = moved
        result = torch.minimum((size - shift[:, None]).clamp_min_(0), bound).view_as(delta) * delta.sign()
        shrink = (limit / self.norm(result).clamp_min(tiny(delta))).clamp_(max=1)  # rounding only
        return result * rowwise(shrink, delta)

    def draw(
        self,
        key: Key,
        x: FloatBatch,
        radius: Radius,
        free: BoolBatch | None,
        fresh: Callable[[], FloatBatch],
        stream: str,
    ) -> FloatBatch:
        """Draw a perturbation uniformly from the L1 ball: normalised exponential sizes with random signs."""
        n = x[0].numel()
        waits = -torch.log1p(-key.uniform(stream, (n + 1,), dtype=x.dtype))
        if free is not None:
            waits[:, :n] = waits[:, :n].where(free.flatten(1), 0)
        radius = rowwise(radius, x) if isinstance(radius, Tensor) else radius
        size = (waits[:, :n] / waits.sum(1, keepdim=True)).view_as(x) * radius
        return size * key.signs(f"{stream} sign", x.shape[1:], dtype=x.dtype)

    def sample(self, key: Key, x: FloatBatch, stream: str = "ball") -> FloatBatch:
        """Draw a perturbation (B, ...) uniformly from the ball, then project it onto the valid range [0, 1]."""
        return self.project(self.draw(key, x, self.eps, None, lambda: x, stream), x)

    def onto_hyperplane(self, slope: FloatBatch, gain: FloatPerRow, lower: Bound, upper: Bound) -> FloatBatch:
        """Return the smallest perturbation in L1 that gains `gain` (B,): see `hyperplane.steepest_first`."""
        return steepest_first(slope, gain, lower, upper)

    def prox(self, delta: FloatBatch, weight: FloatPerRow) -> FloatBatch:
        """Return delta moved towards 0 by `weight` (B,), and no farther: soft thresholding."""
        threshold = rowwise(weight, delta)
        return delta - delta.clamp(-threshold, threshold)
