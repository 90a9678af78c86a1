"""`Ablation`: images of which only a band or a block is kept, for de-randomised smoothing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ....errors import ConfigError
from .certificates import is_share

KINDS = ("columns", "rows", "block")


@dataclass(frozen=True)
class Ablation:
    """Keep a band or a block of an image, at any place, and blank out the rest.

    What leaves the image on one side comes in again on the other, so that each pixel is kept at as many places.

    Args:
        size: width of the bands, or side of the blocks, in pixels.
        kind: "columns", "rows" or "block".
        fill: the value of pixels that are blanked out. None: as in the paper, the image and 1 minus the image in 2 C
            channels, both 0 where it is blank, so that blank is no value of a pixel.

    Raises: ConfigError.
    """

    size: int
    kind: str = "columns"
    fill: float | None = 0.5

    def __post_init__(self) -> None:
        if type(self.size) is not int or self.size < 1:
            raise ConfigError(f"ablation size={self.size!r}; pass an int >= 1")
        if self.kind not in KINDS:
            raise ConfigError(f"ablation={self.kind!r}; pass one of {', '.join(KINDS)}")
        if self.fill is not None and not is_share(self.fill):
            raise ConfigError(f"ablation fill={self.fill!r}; pass a value of pixels, in [0, 1], or None")

    def band(self, images: Tensor) -> tuple[int, int]:
        """Return height and width of what is kept."""
        height, width = images.shape[2:]
        return (
            height if self.kind == "columns" else min(self.size, height),
            width if self.kind == "rows" else min(self.size, width),
        )

    def grid(self, images: Tensor) -> tuple[int, int]:
        """Return the number of places down and across."""
        height, width = images.shape[2:]
        return 1 if self.kind == "columns" else height, 1 if self.kind == "rows" else width

    def kept(self, images: Tensor) -> Tensor:
        """Return (P, H, W) bool: what is kept at each place of the grid, row by row."""
        sides = []
        for length, places, size in zip(images.shape[2:], self.grid(images), self.band(images), strict=True):
            at, start = (torch.arange(count, device=images.device) for count in (length, places))
            sides.append((at - start[:, None]) % length < size)
        rows, columns = sides
        return (rows[:, None, :, None] & columns[None, :, None, :]).flatten(0, 1)

    def apply(self, images: Tensor, kept: Tensor) -> Tensor:
        """Return what a model sees of images (B, C, H, W) where `kept`, (H, W) or (B, 1, H, W), is true."""
        if self.fill is not None:
            return torch.where(kept, images, self.fill)
        return torch.cat((images, 1 - images), 1) * kept
