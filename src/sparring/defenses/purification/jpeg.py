"""JPEG compression (Dziugaite, Ghahramani & Roy 2016, arXiv:1608.00853; Guo et al. 2017, arXiv:1711.00117).

The forward pass is libjpeg itself, by Pillow; the gradient is that of our own codec, which is differentiable.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...errors import ConfigError, InputError
from ...random import Key
from ...transforms import Stage
from ..parameters import check_whole
from .jpeg_codec import cubic_rounding, encode_decode, mean_rounding, no_rounding

ROUNDINGS = {"mean": mean_rounding, "cubic": cubic_rounding, "none": no_rounding}
HALVED = 2  # Pillow's word for 4:2:0


@dataclass(frozen=True)
class JPEGCompression(Stage):
    """Compress images (B, 1 or 3, H, W) in [0, 1] by 8-bit JPEG, color with chroma halved (4:2:0).

    Args:
        quality: libjpeg's, 1 to 100; 75 in Guo et al.
        rounding: of the coefficients in the approximation: "cubic" (Shin & Song 2017), none at all ("none"), or
            the "mean" of the two, by which the most attacks get through.

    Raises: ConfigError, and InputError for images it cannot hold.
    """

    quality: int = 75
    rounding: str = "mean"

    def __post_init__(self) -> None:
        check_whole(self, "quality", self.quality, 1, 100)
        if self.rounding not in ROUNDINGS:
            raise ConfigError(f"JPEGCompression rounding={self.rounding!r}; pass one of {', '.join(ROUNDINGS)}")

    @property
    def differentiable(self) -> bool:
        return False

    def __call__(self, images: Tensor, key: Key) -> Tensor:
        _check(images)
        levels = images.detach().mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        decoded = np.stack([self._through(picture) for picture in levels])
        return torch.from_numpy(decoded.reshape(levels.shape)).to(images).permute(0, 3, 1, 2).contiguous().div_(255)

    def differentiable_approximation(self, images: Tensor, key: Key) -> Tensor:
        return encode_decode(images, self.quality, ROUNDINGS[self.rounding])

    def _through(self, picture: np.ndarray) -> np.ndarray:
        """Return one picture (H, W, C), which libjpeg takes one at a time."""
        file, gray = BytesIO(), picture.shape[2] == 1
        pillow = Image.fromarray(picture.squeeze(2) if gray else picture)
        pillow.save(file, "JPEG", quality=self.quality, subsampling=HALVED)
        return np.asarray(Image.open(file))


def _check(images: Tensor) -> None:
    if images.shape[1] not in (1, 3):
        raise InputError(f"JPEG holds 1 or 3 channels, and the images have {images.shape[1]}")
    if not bool(((images >= 0) & (images <= 1)).all()):
        raise InputError("JPEG stores pixels in [0, 1], and the images reach beyond it or hold NaN; clip them before")
