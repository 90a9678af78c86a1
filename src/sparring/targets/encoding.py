"""Codecs of images sent to a service: 8-bit rounding, JPEG, resizing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import interpolate

from ..errors import ConfigError
from ..shapes import FloatBatch
from ..transforms.libjpeg import through_libjpeg

LARGEST_SIDE = 1 << 14


class Codec(ABC):
    """Images (B, C, H, W) in [0, 1] as they are once they have been encoded and decoded."""

    @abstractmethod
    def __call__(self, images: FloatBatch) -> Tensor: ...


@dataclass(frozen=True)
class Bytes(Codec):
    """Rounded to 256 levels, as PNG and every other file of 8 bits stores them."""

    def __call__(self, images: FloatBatch) -> Tensor:
        return images.mul(255).round_().div_(255)


@dataclass(frozen=True)
class JPEG(Codec):
    """Through libjpeg (Pillow) at a quality of 1 to 95, color halved in both directions as is its default."""

    quality: int = 90

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 95:
            raise ConfigError(f"JPEG quality {self.quality!r}; pass an int from 1 to 95")

    def __call__(self, images: FloatBatch) -> Tensor:
        return through_libjpeg(images, [self.quality] * len(images))


@dataclass(frozen=True)
class Resize(Codec):
    """To `size` = (height, width) and back to the size it came in, bilinear with antialiasing."""

    size: tuple[int, int]

    def __post_init__(self) -> None:
        if not all(1 <= side <= LARGEST_SIDE for side in self.size):
            raise ConfigError(f"resize to {self.size}; pass a height and a width from 1 to {LARGEST_SIDE}")

    def __call__(self, images: FloatBatch) -> Tensor:
        small = interpolate(images, self.size, mode="bilinear", antialias=True)
        return interpolate(small, images.shape[2:], mode="bilinear", antialias=True).clamp_(0, 1)
