"""The orthonormal cosine transform, in whose low frequencies SimBA and SurFree search."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=64)
def cosine_basis(size: int, count: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the `count` lowest frequencies (count, size) of the orthonormal DCT-II of `size` points, one per row."""
    points = torch.arange(size, dtype=torch.float64)
    basis = (math.pi / size * points[:count, None] * (points + 0.5)).cos() * math.sqrt(2 / size)
    basis[0] = math.sqrt(1 / size)
    return basis.to(dtype).to(device)
