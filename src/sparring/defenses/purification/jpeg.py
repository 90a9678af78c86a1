"""JPEG compression (Dziugaite, Ghahramani & Roy 2016, arXiv:1608.00853; Guo et al. 2017, arXiv:1711.00117).

The forward pass is libjpeg itself, by Pillow; the gradient is that of our own codec, which is differentiable.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ...errors import ConfigError
from ...random import Key
from ...transforms import Stage
from ...transforms.jpeg_codec import cubic_rounding, encode_decode, mean_rounding, no_rounding
from ...transforms.libjpeg import through_libjpeg
from ..parameters import check_whole

ROUNDINGS = {"mean": mean_rounding, "cubic": cubic_rounding, "none": no_rounding}


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
        return through_libjpeg(images, [self.quality] * len(images))

    def differentiable_approximation(self, images: Tensor, key: Key) -> Tensor:
        return encode_decode(images, self.quality, ROUNDINGS[self.rounding])
