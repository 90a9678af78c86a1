"""Windows of the Square Attack: where they lie, and the pattern that fills them in L2 and L1."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from ...geometry import rowwise, tiny, unit
from ...geometry.region import Region


def draw_site(region: Region, draw: Tensor, count: int) -> Tensor:
    """Return one of the `count` sites of each row (B,) int64, under a mask one of those that may move.

    Args:
        draw: (B,) int64 in [0, 2^31).
    """
    if region.free is None:
        return (draw * count) >> 31
    earlier = region.inputs.per_site(region.free).any(2).cumsum(1)
    place = ((draw * earlier[:, -1]) >> 31) + 1
    return torch.searchsorted(earlier, place[:, None]).squeeze(1)


def square_window(region: Region, top: Tensor, left: Tensor, side: int) -> Tensor:
    """Return the flat positions (B, C, side^2) of a square per row; under a mask its centre is a site that may move.

    Args:
        top, left: (B,) int64 in [0, 2^31), the draws of the corner.
        side: of the square, in pixels.
    """
    _, channels, height, width = region.x.shape
    if region.free is None:
        row, column = (top * (height - side + 1)) >> 31, (left * (width - side + 1)) >> 31
    else:
        centre = draw_site(region, top, height * width)
        row = (centre // width - side // 2).clamp(0, height - side)
        column = (centre % width - side // 2).clamp(0, width - side)
    steps = torch.arange(side, device=region.x.device)
    square = (steps[:, None] * width + steps).flatten()
    return ((row * width + column)[:, None] + square)[:, None].expand(-1, channels, -1)


def draw_signs(draw: Tensor, channels: int, dtype: torch.dtype) -> Tensor:
    """Return (B, C) of -1 and 1 from the bits of one draw (B,) int64 in [0, 2^31)."""
    return ((draw[:, None] >> (torch.arange(channels, device=draw.device) % 31)) & 1).to(dtype) * 2 - 1


def onto_sphere(region: Region, delta: Tensor) -> Tensor:
    """Return the perturbations (B, ...) scaled to the norm eps, and what the range leaves of them; zero stays zero."""
    return region.project(delta * rowwise(region.eps / region.norm(delta).clamp_min(tiny(delta)), delta))


@lru_cache(maxsize=64)
def eta(side: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the paper's pattern eta (side, side), one half up, the other down, of L2 norm 1 (section 3.3)."""
    half = side // 2
    if half == 0:
        return torch.ones(1, 1, dtype=dtype, device=device)
    both = torch.cat((_half_eta(half, side, dtype), -_half_eta(side - half, side, dtype)))
    return unit(both[None])[0].to(device)


def _half_eta(height: int, width: int, dtype: torch.dtype) -> Tensor:
    """(height, width): nested rectangles around the middle, each adding 1 / (M + 1 - i)^2, of norm 1."""
    pattern = torch.zeros(height, width, dtype=dtype)
    top, left = height // 2, width // 2
    bottom, right = top + 1, left + 1
    for i in range(max(height, width) // 2 + 1):
        pattern[max(top, 0) : bottom, max(left, 0) : right] += 1 / (i + 1) ** 2
        top, left, bottom, right = top - 1, left - 1, bottom + 1, right + 1
    return unit(pattern[None])[0]
