"""The two orthonormal bases of SimBA: the cosine transform and the components themselves.

Directions are numbered by the flat positions of components, or of frequencies of a channel.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...geometry.region import Region
from ...random import Key
from ..cosine_transform import cosine_basis


def frequency_blocks(size: int, freq_dims: float, stride: float) -> Tensor:
    """Return the block (size,) to which each frequency of a side belongs: block 0 comes first.

    Args:
        size: the side's length.
        freq_dims: the share of the side that block 0 takes.
        stride: the share of the side by which each block exceeds the last.
    """
    first, growth = max(round(freq_dims * size), 1), max(round(stride * size), 1)
    return (torch.arange(size) - first).div(growth, rounding_mode="floor").add_(1).clamp_(min=0)


def draw_directions(key: Key, region: Region, freq_dims: float, stride: float, pixels: bool) -> Tensor:
    """Return a random order (B, n) int64 of the directions, frequencies block by block.

    Components that may not move come last. Arguments as of `frequency_blocks` and `SimBA`.
    """
    rank = key.uniform("order", region.x.shape[1:], dtype=torch.float64)
    if not pixels:
        row, column = (frequency_blocks(size, freq_dims, stride).to(rank.device) for size in region.x.shape[2:])
        rank += torch.maximum(row[:, None], column)
    elif region.free is not None:
        rank.masked_fill_(~region.free, 2)
    return rank.flatten(1).argsort(dim=1, stable=True)


def room_along(region: Region, delta: Tensor, direction: Tensor, pixels: bool) -> tuple[Tensor, Tensor]:
    """Return how far a component can move upwards and downwards (B,) from `delta`; of frequencies 1 and 1.

    Args:
        delta: (B, ...) the perturbation.
        direction: (B, 1) int64.
        pixels: are directions components?
    """
    if not pixels:
        one = torch.ones_like(region.eps)
        return one, one
    low, high = (b.flatten(1).gather(1, direction).squeeze(1) if isinstance(b, Tensor) else b for b in region.range)
    moved = delta.flatten(1).gather(1, direction).squeeze(1)
    value = region.x.flatten(1).gather(1, direction).squeeze(1) + moved
    return torch.minimum(high - value, region.eps - moved), torch.minimum(value - low, region.eps + moved)


def move_along(region: Region, delta: Tensor, direction: Tensor, step: Tensor, pixels: bool) -> Tensor:
    """Return `delta` (B, ...) moved by `step` (B,) along `direction` (B, 1) int64, within ball and range."""
    if pixels:
        return region.project(delta.flatten(1).scatter_add(1, direction, step[:, None]).view_as(delta))
    height, width = delta.shape[2:]
    channel, row, column = direction // (height * width), direction // width % height, direction % width
    tall, wide = (cosine_basis(size, size, delta.dtype, delta.device) for size in (height, width))
    wave = (tall[row.squeeze(1)] * step[:, None])[:, :, None] * wide[column]
    own = torch.arange(delta.shape[1], device=delta.device) == channel
    return region.project(delta + wave[:, None] * own[:, :, None, None])
