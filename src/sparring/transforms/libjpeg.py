"""JPEG by libjpeg itself, as Pillow calls it."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import InputError

HALVED = 2  # Pillow's word for 4:2:0


def through_libjpeg(images: Tensor, qualities: Sequence[int]) -> Tensor:
    """Return images (B, 1 or 3, H, W) in [0, 1] as libjpeg stores and reads them, color halved in both directions.

    `qualities` are libjpeg's, 1 to 100, one for each image. No gradient goes through it.

    Raises: InputError for images that JPEG cannot hold.
    """
    if images.shape[1] not in (1, 3):
        raise InputError(f"JPEG holds 1 or 3 channels, and the images have {images.shape[1]}")
    if not bool(((images >= 0) & (images <= 1)).all()):
        raise InputError("JPEG stores pixels in [0, 1], and the images reach beyond it or hold NaN; clip them before")
    levels = images.detach().mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    decoded = np.stack([_stored(picture, quality) for picture, quality in zip(levels, qualities, strict=True)])
    return torch.from_numpy(decoded.reshape(levels.shape)).to(images).permute(0, 3, 1, 2).contiguous().div_(255)


def _stored(picture: np.ndarray, quality: int) -> np.ndarray:
    """Return one picture (H, W, C), which libjpeg takes one at a time."""
    file, gray = BytesIO(), picture.shape[2] == 1
    pillow = Image.fromarray(picture.squeeze(2) if gray else picture)
    pillow.save(file, "JPEG", quality=quality, subsampling=HALVED)
    return np.asarray(Image.open(file))
