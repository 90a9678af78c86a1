"""Padding of images by reflection, also by more than their size."""

from __future__ import annotations

import torch
from torch import Tensor


def mirror_pad(images: Tensor, before: int, after: int) -> Tensor:
    """Return images (..., H, W) with `before` and `after` mirrored rows and columns: d c b a | a b c d | d c b a."""
    for axis in (-2, -1):
        count = images.shape[axis]
        places = torch.arange(-before, count + after, device=images.device) % (2 * count)
        images = images.index_select(axis, torch.minimum(places, 2 * count - 1 - places))
    return images


def windows(images: Tensor, size: int) -> Tensor:
    """Return (B, C, H, W, size * size): the window around each pixel; an even one has one more before it than after."""
    wide = mirror_pad(images, size // 2, (size - 1) // 2)
    return wide.unfold(2, size, 1).unfold(3, size, 1).flatten(4)
