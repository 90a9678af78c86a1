"""Masks that cover every place of a patch (Xiang, Mahloujifar & Mittal 2022, arXiv:2108.09135, section 3.2).

    stride s = ceil((n - p + 1) / k),   mask side m = p + s - 1,   masks from 0, s, 2 s, ... and n - m

along a side of n pixels with a patch of p pixels and at most k masks. A patch that begins at x begins at most s - 1
pixels after a mask, and so ends within it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def mask_spans(length: int, patch: int, count: int) -> list[tuple[int, int]]:
    """Return the spans [start, stop) of at most `count` masks along a side of `length` pixels."""
    stride = math.ceil((length - patch + 1) / count)
    side = patch + stride - 1
    starts = dict.fromkeys(min(start, length - side) for start in range(0, length - patch + 1, stride))
    return [(start, start + side) for start in starts]


def covering_masks(height: int, width: int, patch: tuple[int, int], count: int) -> Tensor:
    """Return (M, H, W) bool masks, M <= count^2: each patch of that size lies wholly within one of them."""
    rows, columns = mask_spans(height, patch[0], count), mask_spans(width, patch[1], count)
    masks = torch.zeros(len(rows) * len(columns), height, width, dtype=torch.bool)
    for number, mask in enumerate(masks):
        (top, bottom), (left, right) = rows[number // len(columns)], columns[number % len(columns)]
        mask[top:bottom, left:right] = True
    return masks
