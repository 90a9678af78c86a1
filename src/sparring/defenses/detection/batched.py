"""Functions of images, over more images than go into memory at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

BATCH = 250


def batched(function: Callable[..., Tensor], *rows: Tensor, size: int = BATCH) -> Tensor:
    """function(*rows) (N, ...) of tensors of N rows each, `size` rows at a time, without gradients."""
    with torch.no_grad():
        return torch.cat([function(*parts) for parts in zip(*(torch.split(each, size) for each in rows), strict=True)])
