"""Blurring with a kernel of its own for each image."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad


def blur(images: Tensor, kernels: Tensor) -> Tensor:
    """Return images (B, C, H, W) under kernels (B, k, k), k odd, each of which sums to 1; the border is mirrored.

    The sums of light in the image and in its mirror images are kept.
    """
    reach, (count, channels, height, width) = kernels.shape[1] // 2, images.shape
    wide = mirrored(images, reach)
    weights = kernels[:, None, None].expand(-1, channels, 1, -1, -1).reshape(-1, 1, *kernels.shape[1:])
    return conv2d(wide.reshape(1, count * channels, *wide.shape[2:]), weights, groups=count * channels).view(
        count, channels, height, width
    )


def mirrored(images: Tensor, reach: int) -> Tensor:
    """Return images (B, C, H, W) continued by `reach` pixels of their mirror image on each side."""
    if reach < min(images.shape[2:]):
        return pad(images, (reach,) * 4, mode="reflect")
    return pad(images, (reach,) * 4, mode="replicate")


def offsets(reach: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows (k, 1) and columns (k,) of a kernel from its middle, k = 2 * reach + 1."""
    steps = torch.arange(-reach, reach + 1, dtype=like.dtype, device=like.device)
    return steps[:, None], steps


def disc(radius: Tensor, largest: float) -> Tensor:
    """Return (B, k, k): discs of these radii (B,) in pixels, at most `largest`, of sum 1; a point at radius 0."""
    rows, columns = offsets(max(1, math.ceil(largest)), radius)
    distance = (rows**2 + columns**2).sqrt()
    weights = (radius[:, None, None] + 0.5 - distance).clamp(0, 1)
    return weights / weights.sum((1, 2), keepdim=True)


def line(length: Tensor, angle: Tensor, largest: float) -> Tensor:
    """Return (B, k, k): lines of lengths (B,) in pixels and angles (B,) in radians, of sum 1; a point at length 0."""
    rows, columns = offsets(max(1, math.ceil(largest / 2)), length)
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    along, across = columns * cos + rows * sin, rows * cos - columns * sin
    weights = (length[:, None, None] / 2 + 0.5 - along.abs()).clamp(0, 1) * (1 - across.abs()).clamp_min(0)
    return weights / weights.sum((1, 2), keepdim=True)


def gaussian(sigma: Tensor, largest: float) -> Tensor:
    """Return (B, k, k): Gaussians of these standard deviations (B,) in pixels, cut off at 3 of `largest`, of sum 1."""
    steps = offsets(max(1, math.ceil(3 * largest)), sigma)[1]
    weights = (-(steps**2) / (2 * sigma[:, None].clamp_min(1e-3) ** 2)).exp()
    weights = weights / weights.sum(1, keepdim=True)
    return weights[:, :, None] * weights[:, None]
