"""Shapes over photographs, made by a seed, and a small net that segments them.

Five classes: background, disc, square, triangle and cross. Background and fillings are cut out of the zoo's
photographs; test images come from photographs of which no training image has a pixel.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.provenance import ROOT
from sparring.zoo import InputSpec, load_data

CLASSES = ("background", "disc", "square", "triangle", "cross")
SIDE = 48
MOST_SHAPES = 3
TEST_PHOTOS = 3  # the last ones
PHOTO_SIDE = 256
WEIGHTS = ROOT / "benchmarks" / "weights"


class SegmentationNet(nn.Module):
    """Images (B, 3, H, W) in [0, 1] -> logits (B, 5, H, W); three scales with skips between them, as in U-Net."""

    def __init__(self, widths: tuple[int, int, int] = (12, 24, 36)) -> None:
        super().__init__()
        first, second, third = widths
        self.down1, self.down2, self.middle = block(3, first), block(first, second), block(second, third)
        self.up2, self.up1 = block(third + second, second), block(second + first, first)
        self.head = nn.Conv2d(first, len(CLASSES), 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.down1(2 * x - 1)
        coarse = self.down2(F.max_pool2d(fine, 2))
        deep = self.middle(F.max_pool2d(coarse, 2))
        coarse = self.up2(torch.cat((larger(deep), coarse), 1))
        logits: Tensor = self.head(self.up1(torch.cat((larger(coarse), fine), 1)))
        return logits


def block(inputs: int, outputs: int) -> nn.Sequential:
    """Two convolutions with batch norm."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def larger(x: Tensor) -> Tensor:
    """Twice the size."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def disc(u: Tensor, v: Tensor) -> Tensor:
    """Within a circle."""
    return u**2 + v**2 < 1


def square(u: Tensor, v: Tensor) -> Tensor:
    """Within a square of about the same area."""
    return torch.maximum(u.abs(), v.abs()) < 0.89


def triangle(u: Tensor, v: Tensor) -> Tensor:
    """Within a triangle of equal sides."""
    sides = [math.cos(turn) * u + math.sin(turn) * v for turn in (0.5, 0.5 + 2 * math.pi / 3, 0.5 + 4 * math.pi / 3)]
    return torch.stack(sides).amax(0) < 0.75


def cross(u: Tensor, v: Tensor) -> Tensor:
    """Within a cross of two bars."""
    u, v = u.abs(), v.abs()
    return (torch.minimum(u, v) < 0.38) & (torch.maximum(u, v) < 1.15)


SHAPES: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (disc, square, triangle, cross)


@dataclass(frozen=True)
class Photographs:
    """Photographs (N, 3, 256, 256), of one half."""

    images: Tensor

    @classmethod
    def load(cls, test: bool) -> Photographs:
        """The last three, or all others."""
        data = load_data("zoo:photos", input=InputSpec(3, PHOTO_SIDE, PHOTO_SIDE, squash=True))
        images = torch.cat([chunk.images for chunk in data.chunks(16)])
        return cls(images[-TEST_PHOTOS:] if test else images[:-TEST_PHOTOS])

    def crops(self, count: int, generator: torch.Generator) -> Tensor:
        """Crops (count, 3, 48, 48) at random places, some mirrored, with random contrast and brightness."""
        reach = PHOTO_SIDE - SIDE + 1
        which = torch.randint(len(self.images), (count,), generator=generator)
        places = torch.randint(reach, (count, 2), generator=generator).tolist()
        cut = [self.images[i, :, y : y + SIDE, x : x + SIDE] for i, (y, x) in zip(which.tolist(), places, strict=True)]
        images = torch.stack(cut)
        mirrored = torch.rand(count, 1, 1, 1, generator=generator) < 0.5
        images = torch.where(mirrored, images.flip(3), images)
        gain = 0.6 + 0.8 * torch.rand(count, 3, 1, 1, generator=generator)
        shift = 0.4 * torch.rand(count, 3, 1, 1, generator=generator) - 0.2
        return (gain * (images - 0.5) + 0.5 + shift).clamp(0, 1)


def draw_scenes(photos: Photographs, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return images (count, 3, 48, 48) and labels (count, 48, 48) int64."""
    generator = torch.Generator().manual_seed(seed)
    images, labels = photos.crops(count, generator), torch.zeros(count, SIDE, SIDE, dtype=torch.long)
    axis = (torch.arange(SIDE) + 0.5).view(1, -1)
    for number in range(MOST_SHAPES):
        drawn = torch.rand(count, 5, generator=generator)
        kinds = torch.randint(len(SHAPES), (count,), generator=generator)
        shown = (drawn[:, 0] < 0.75) | (number == 0)
        size, turn = 5 + 7 * drawn[:, 1], 2 * math.pi * drawn[:, 2]
        across = (axis - SIDE * drawn[:, 3, None])[:, None, :] / size[:, None, None]
        down = (axis - SIDE * drawn[:, 4, None])[:, :, None] / size[:, None, None]
        cosine, sine = turn.cos()[:, None, None], turn.sin()[:, None, None]
        u, v = cosine * across + sine * down, cosine * down - sine * across
        inside = torch.stack([shape(u, v) for shape in SHAPES], 1)
        inside = inside[torch.arange(count), kinds] & shown[:, None, None]
        filling = photos.crops(count, generator)
        tint = torch.rand(count, 3, 1, 1, generator=generator)
        filling = 0.5 * filling + 0.5 * tint
        images = torch.where(inside[:, None], filling, images)
        labels = torch.where(inside, kinds[:, None, None] + 1, labels)
    return images, labels
