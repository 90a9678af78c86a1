"""Bilinear sampling of images at given positions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

PADDINGS = ("border", "zeros", "reflection")


def sample(images: Tensor, rows: Tensor, columns: Tensor, padding: str) -> Tensor:
    """Return images (B, C, H', W') whose pixels lie at `rows` and `columns` (B, H', W') of images (B, C, H, W).

    Places are in pixels, (0, 0) the middle of the first one. Between pixels it is bilinear, and piecewise so: the
    gradient with respect to the places is right but where a place falls on the middle of a pixel.
    """
    height, width = images.shape[2:]
    grid = torch.stack((columns / max(width - 1, 1), rows / max(height - 1, 1)), dim=3) * 2 - 1
    return grid_sample(images, grid.to(images.dtype), mode="bilinear", padding_mode=padding, align_corners=True)


def places(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the row (H, 1) and the column (W,) of each pixel of images (B, C, H, W)."""
    height, width = images.shape[2:]
    down = torch.arange(height, dtype=images.dtype, device=images.device)
    return down[:, None], torch.arange(width, dtype=images.dtype, device=images.device)
