"""Random augmentation of training images, keyed by epoch and position."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ...random import Key
from .config import Augment


def augment_images(images: Tensor, key: Key, how: Augment) -> Tensor:
    """Return the images (B, C, H, W) mirrored and shifted as `how` says; what moves in from outside is black."""
    if how.flip:
        mirrored = key.signs("flip", (1,), dtype=images.dtype) > 0
        images = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(3), images)
    if how.shift:
        height, width = images.shape[2:]
        offsets = key.integers("shift", (2,), 2 * how.shift + 1)
        padded = F.pad(images, [how.shift] * 4)
        down = (offsets[:, :1] + torch.arange(height, device=images.device))[:, None, :, None]
        across = (offsets[:, 1:] + torch.arange(width, device=images.device))[:, None, None, :]
        rows = torch.arange(len(images), device=images.device)[:, None, None, None]
        channels = torch.arange(images.shape[1], device=images.device)[None, :, None, None]
        images = padded[rows, channels, down, across]
    return images
