"""Resizing and padding at random (Xie et al. 2017, arXiv:1711.01991, section 3).

    x -> pad_0( resize(x, r), top, left ),   top and left uniform in [0, output size - r]

Each image has a size and a place of its own. All of it is linear in the pixels, so that autograd goes through it as it
is; with "nearest", as in the authors' code, each output pixel reads one input pixel, and its slope goes there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import ConfigError
from ...random import Key
from ...tasks import Classification, Task, Verification
from ...transforms import Stage, move_places

INTERPOLATIONS = ("nearest", "bilinear")
MOST = 16.0  # of an image's size; whoever asks for more has passed pixels


class AxisPlacement(NamedTuple):
    """Where the resized images lie on one axis of the output: start and length (B,), whole numbers."""

    start: Tensor
    length: Tensor


@dataclass(frozen=True)
class ResizePad(Stage):
    """Resize each image (B, C, H, W) to a random size, and pad it with zeros to (B, C, output_scale H, output_scale W).

    Args:
        min_scale, max_scale: the resized height is a whole number of pixels, uniform from min_scale H to below
            max_scale H; the width likewise, with the same draw. Shares of the image's: 310 and 331 of 299 in the paper.
        output_scale: share of the image's height and width that the output has: 331 of 299 in the paper.
        interpolation: "nearest" or "bilinear", as `torch.nn.functional.interpolate` has them.

    Landmarks and boxes of the context move along. The model must take images of the new size, and be right on them:
    measure its clean accuracy behind the stage.

    Departure: where an image is not square, its height and width are drawn together; the paper has squares only.

    Raises: ConfigError.
    """

    min_scale: float = 310 / 299
    max_scale: float = 331 / 299
    output_scale: float = 331 / 299
    interpolation: str = "nearest"

    def __post_init__(self) -> None:
        shares = self.min_scale, self.max_scale, self.output_scale
        given = f"min_scale={self.min_scale!r}, max_scale={self.max_scale!r}, output_scale={self.output_scale!r}"
        message = f"ResizePad {given}; pass"
        if any(isinstance(share, bool) or not isinstance(share, int | float) for share in shares):
            raise ConfigError(f"{message} numbers: shares of the image's height and width")
        if (
            not all(math.isfinite(share) for share in shares)
            or not 0 < self.min_scale <= self.max_scale <= self.output_scale
        ):
            raise ConfigError(
                f"{message} 0 < min_scale <= max_scale <= output_scale, as shares of the image's height and width"
            )
        if self.output_scale > MOST:
            raise ConfigError(f"{message} shares of the image's height and width, not pixels: 331 / 299, or 1.107")
        if self.interpolation not in INTERPOLATIONS:
            raise ConfigError(
                f"ResizePad interpolation={self.interpolation!r}; pass one of {', '.join(INTERPOLATIONS)}"
            )

    @property
    def tasks(self) -> tuple[type[Task], ...] | None:
        return Classification, Verification

    @property
    def stochastic(self) -> bool:
        return True

    def __call__(self, images: Tensor, key: Key) -> Tensor:
        down, across = self.draw_placements(images, key)
        return resize_and_place(images, down, across, self.output_size(images), self.interpolation)

    def apply(self, x: Tensor, key: Key, context: Any) -> tuple[Tensor, Any]:
        down, across = self.draw_placements(x, key)

        def move(points: Tensor) -> Tensor:
            axes = [
                span.start[:, None] + points[:, :, axis] * (span.length / x.shape[3 - axis])[:, None]
                for axis, span in enumerate((across, down))
            ]
            return torch.stack(axes, dim=2)

        return self(x, key), move_places(context, move)

    def output_size(self, images: Tensor) -> tuple[int, int]:
        """Return the height and width of the output."""
        high, wide = images.shape[2:]
        return scaled_length(self.output_scale, high), scaled_length(self.output_scale, wide)

    def draw_placements(self, images: Tensor, key: Key) -> tuple[AxisPlacement, AxisPlacement]:
        """Return, for each image, where its rows of pixels go, and where its columns go."""
        size, top, left = key.uniform("resize-pad", (3,)).unbind(1)
        high, wide = images.shape[2:]
        return self._span(size, top, high), self._span(size, left, wide)

    def _span(self, size: Tensor, place: Tensor, length: int) -> AxisPlacement:
        least, most = scaled_length(self.min_scale, length), scaled_length(self.max_scale, length)
        resized = least + (size * max(1, most - least)).floor()
        return AxisPlacement((place * (scaled_length(self.output_scale, length) - resized + 1)).floor(), resized)


def scaled_length(share: float, length: int) -> int:
    """Return `share` of `length` pixels, rounded, at least 1."""
    return max(1, round(share * length))


def resize_and_place(
    images: Tensor, down: AxisPlacement, across: AxisPlacement, size: tuple[int, int], interpolation: str
) -> Tensor:
    """Return the images (B, C, H, W) resized, each to its own height and width, in zeros (B, C, *size)."""
    y, inside_y = _read(down, images.shape[2], size[0], interpolation, images.dtype)
    x, inside_x = _read(across, images.shape[3], size[1], interpolation, images.dtype)
    shape = len(images), *size
    grid = torch.stack((x[:, None].expand(shape), y[:, :, None].expand(shape)), dim=3)
    resized = F.grid_sample(images, grid, mode=interpolation, padding_mode="border", align_corners=True)
    return resized * (inside_y[:, :, None] & inside_x[:, None])[:, None]


def _read(span: AxisPlacement, length: int, size: int, interpolation: str, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """(B, size) where each output pixel reads, in grid_sample's units, and whether it reads.

    The nearest pixel is looked for in float32, as torch does for images in float32, whatever these are in.
    """
    start, resized = (whole[:, None].to(dtype if interpolation == "bilinear" else torch.float32) for whole in span)
    place = torch.arange(size, device=start.device) - start
    ratio = torch.full_like(resized, length) / resized  # a number over a tensor would be rounded twice
    source = (place * ratio).floor() if interpolation == "nearest" else (place + 0.5) * ratio - 0.5
    read = source.clamp(0, length - 1).to(dtype) * (2 / max(1, length - 1)) - 1
    return read, (place >= 0) & (place < resized)
