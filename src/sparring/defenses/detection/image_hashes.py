"""Hashes of images, one number each, by which images that were used before are recognised."""

from __future__ import annotations

import torch
from torch import Tensor

from ...random import Key

RESOLUTION = 2.0**40  # pixels are told apart to 1 / RESOLUTION


def hash_images(images: Tensor) -> Tensor:
    """Return (N,) int64 hashes of images (N, C, H, W): two different images collide with a chance of about 2^-64."""
    flat = images.detach().cpu().flatten(1)
    factors = Key(torch.zeros(1, dtype=torch.long), 0).bits("marks", (flat.shape[1],))[0] | 1
    parts = [((part.double() * RESOLUTION).long() * factors).sum(1) for part in torch.split(flat, 256)]
    return torch.cat(parts) if parts else factors[:0]


def count_known(images: Tensor, seen: Tensor) -> int:
    """Return how many of the images have a hash among `seen`."""
    return int(torch.isin(hash_images(images), seen).sum())
