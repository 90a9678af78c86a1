"""The Euclidean norm."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..random import Key
from .ball import Ball, radii, rowwise, tiny

SWEEPS = 30  # far beyond what the projection needs; each sweep clips at least one more pixel or is the last


def unit(direction: Tensor) -> Tensor:
    """Scaled to L2 norm 1 row by row, safe for entries whose squares underflow; zero stays zero."""
    peak = direction.flatten(1).abs().amax(1).clamp_min_(tiny(direction))
    scaled = direction / rowwise(peak, direction)
    length: Tensor = scaled.flatten(1).norm(dim=1)
    return scaled.div_(rowwise(length.clamp_min_(tiny(direction)), direction))


@dataclass(frozen=True)
class L2(Ball):
    """sqrt(sum_i delta_i^2) <= eps."""

    def norm(self, delta: Tensor) -> Tensor:
        length: Tensor = delta.flatten(1).norm(dim=1)
        return length

    def steepest(self, grad: Tensor, at: Tensor | None = None) -> Tensor:
        return unit(grad)

    def project_between(
        self, delta: Tensor, lower: Tensor, upper: Tensor, radius: Tensor | None = None
    ) -> Tensor:
        """Exact: the nearest point is clip(s * delta) with the largest s <= 1 whose norm fits.

        s solves sum min(s |delta_i|, bound_i)^2 = eps^2. Starting from no pixel clipped, each sweep clips
        those that s pushes over their bound and solves for s again; s only grows, so this ends at the root.
        """
        limit = radii(self.eps, radius, delta)
        inside = delta.clamp(lower, upper)
        if bool((self.norm(inside) <= limit).all()):
            return inside
        size = delta.abs().flatten(1)
        bound = torch.where(delta > 0, upper, -lower).flatten(1)
        squares, full = size.square(), bound.square()
        scale = torch.zeros_like(limit)
        for _ in range(SWEEPS):
            clipped = scale[:, None] * size >= bound
            room = (limit.square() - (full * clipped).sum(1)).clamp_min_(0)
            free = (squares * ~clipped).sum(1)
            grown = torch.where(free > 0, (room / free.clamp_min(tiny(delta))).sqrt(), scale).clamp_(max=1)
            grown = torch.maximum(grown, scale)
            if torch.equal(grown, scale):
                break
            scale = grown
        near = (delta * rowwise(scale, delta)).clamp_(lower, upper)
        result = torch.where(rowwise(self.norm(inside) <= limit, delta), inside, near)
        excess = (limit / self.norm(result).clamp_min(tiny(delta))).clamp_(max=1)  # rounding only
        return result * rowwise(excess, delta)

    def sample(self, key: Key, x: Tensor, lane: str = "ball") -> Tensor:
        n = x[0].numel()
        direction = unit(key.normal(lane, x.shape[1:], dtype=x.dtype))
        radius = key.uniform(f"{lane} radius", (1,), dtype=x.dtype).view(-1) ** (1 / n) * self.eps
        return self.project(direction.mul_(rowwise(radius, x)), x)
