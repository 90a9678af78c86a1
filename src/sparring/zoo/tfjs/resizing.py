"""Resizing of (B, H, W, C) as TensorFlow does it, under each of its three conventions for the middle of a pixel."""

from __future__ import annotations

import torch
from torch import Tensor

from ...errors import TargetError
from .graph import Node

SIDE_LIMIT = 2**14


def resize_bilinear(node: Node, x: Tensor, size: Tensor) -> Tensor:
    """Return `ResizeBilinear`: what lies between two pixels is interpolated along each axis."""
    for axis, side in ((1, _side(node, size, 0)), (2, _side(node, size, 1))):
        last = x.shape[axis] - 1
        place = _places(node, x, axis, side) - _middle(node)
        below = place.floor().clamp(0, last)
        above = place.ceil().clamp(0, last)
        share = (place - below).clamp(0, 1).to(x.dtype).reshape(-1, *[1] * (3 - axis))
        low, high = (x.index_select(axis, one.long()) for one in (below, above))
        x = low + (high - low) * share
    return x


def resize_nearest(node: Node, x: Tensor, size: Tensor) -> Tensor:
    """Return `ResizeNearestNeighbor`."""
    for axis, side in ((1, _side(node, size, 0)), (2, _side(node, size, 1))):
        place = _places(node, x, axis, side)
        nearest = (place + 0.5 if node.flag("align_corners") else place).floor()
        x = x.index_select(axis, nearest.clamp(0, x.shape[axis] - 1).long())
    return x


def _places(node: Node, x: Tensor, axis: int, side: int) -> Tensor:
    """Return the place (side,) float64 in the input, in pixels from its corner or first middle, of each new pixel."""
    out = torch.arange(side, dtype=torch.float64, device=x.device)
    if node.flag("align_corners") and side > 1:
        return out * ((x.shape[axis] - 1) / (side - 1))
    return (out + _middle(node)) * (x.shape[axis] / side)


def _middle(node: Node) -> float:
    return 0.5 if node.flag("half_pixel_centers") else 0.0


def _side(node: Node, size: Tensor, place: int) -> int:
    sides: list[int] = size.tolist()
    if len(sides) != 2 or not all(1 <= side <= SIDE_LIMIT for side in sides):
        raise TargetError(f"{node} resizes to {sides!r:.60}; a height and a width from 1 to {SIDE_LIMIT} are needed")
    return sides[place]
