"""Input diversity (Xie et al. 2019, arXiv:1803.06978, section 3.3): the gradient of a resized and padded image.

    g = grad_x L( T(x; p) ),  T: with probability p resized at random and padded with zeros at random, else x itself

Each row draws for itself, anew at every question. Departure: as models take one size of images, the image is
shrunk and padded to the size it came in, where the paper grows 299 pixels to 299 ... 330 and pads to 330.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ...access import Gradient
from ...errors import ConfigError
from ...geometry import rowwise
from .trick import Ask, Question, Trick, through


@dataclass(frozen=True)
class InputDiversity(Trick):
    """DI.

    Args:
        probability: of a transformed image, at each question (0.5 in the paper, 0.7 in Dong et al. 2019).
        smallest: the least height, as a share of the image's (0.9, as 299 to 330).
    """

    probability: float = 0.7
    smallest: float = 0.9

    short: ClassVar[str] = "DI"
    pixel_grid: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1 or not 0 < self.smallest <= 1:
            raise ConfigError(
                f"InputDiversity probability={self.probability}, smallest={self.smallest}; pass shares of 1"
            )

    def __call__(self, ask: Ask, question: Question) -> Gradient:
        images = question.images
        draws = question.key.uniform("diversity", (4,), question.step, images.dtype).unbind(1)
        high, wide = images.shape[2:]
        least = int(self.smallest * high)
        shrunk = least + (draws[1] * max(1, high - least)).floor()
        height, width = shrunk, (shrunk * wide / high).round().clamp(1, wide)
        top = (draws[2] * (high - height + 1)).floor()
        left = (draws[3] * (wide - width + 1)).floor()
        chosen = rowwise(draws[0] < self.probability, images)
        return through(ask, question, lambda x: torch.where(chosen, placed(x, top, left, height, width), x))


def placed(images: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """The images (B, C, H, W) resized to height x width (B,), bilinearly, with the corner at (top, left), in zeros."""
    across, over_x = _axis(left, width, images.shape[3])
    down, over_y = _axis(top, height, images.shape[2])
    shape = len(images), *images.shape[2:]
    grid = torch.stack((across[:, None].expand(shape), down[:, :, None].expand(shape)), dim=3)
    moved = F.grid_sample(images, grid, padding_mode="border", align_corners=True)
    return moved * (over_y[:, :, None] & over_x[:, None])[:, None]


def _axis(start: Tensor, size: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """(B, length) where each output pixel reads, -1 and 1 being the centers at the ends, and whether it reads."""
    place = torch.arange(length, device=start.device) - start[:, None]
    source = ((place + 0.5) * (length / size[:, None]) - 0.5).clamp(0, length - 1)
    return source * (2 / max(1, length - 1)) - 1, (place >= 0) & (place < size[:, None])
