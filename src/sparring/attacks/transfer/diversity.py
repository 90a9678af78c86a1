"""Input diversity (Xie et al. 2019, arXiv:1803.06978, section 3.3): the gradient of a resized and padded image.

    g = grad_x L( T(x; p) ),  T: with probability p resized at random and padded with zeros at random, else x itself

Each row draws for itself, anew at every query. Departure: as models take one size of images, the image is
shrunk and padded to the size it came in, where the paper grows 299 pixels to 299 ... 330 and pads to 330. What lies
beside the images (landmarks, boxes) stays where it is, so that against a face it is off by up to the same share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ...access import Gradient, PositiveFraction, Probability
from ...geometry import rowwise
from .technique import GradientFunction, GradientQuery, TransferTechnique, gradient_through


@dataclass(frozen=True)
class InputDiversity(TransferTechnique):
    """Take the gradient at randomly resized and padded images (DI).

    Args:
        diversity_prob: the probability of transforming an image, at each query, in [0, 1] (0.5 in the paper, 0.7 in
            Dong et al. 2019).
        resize_rate: the least height, as a share of the image's, in (0, 1] (0.9, as 299 to 330).
    """

    diversity_prob: Probability = 0.7
    resize_rate: PositiveFraction = 0.9

    abbreviation: ClassVar[str] = "DI"
    pixel_grid: ClassVar[bool] = True

    def __call__(self, gradient: GradientFunction, query: GradientQuery) -> Gradient:
        images = query.images
        draws = query.key.uniform("diversity", (4,), query.step, images.dtype).unbind(1)
        high, wide = images.shape[2:]
        least = int(self.resize_rate * high)
        height = least + (draws[1] * max(1, high - least)).floor()
        width = (height * wide / high).round().clamp(1, wide)
        top = (draws[2] * (high - height + 1)).floor()
        left = (draws[3] * (wide - width + 1)).floor()
        chosen = rowwise(draws[0] < self.diversity_prob, images)

        def transform(x: Tensor) -> Tensor:
            return torch.where(chosen, resize_and_pad(x, top, left, height, width), x)

        return gradient_through(gradient, query, transform)


def resize_and_pad(images: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """Resize images (B, C, H, W) bilinearly to height x width (B,), and place them at (top, left) among zeros."""
    across, over_x = _axis(left, width, images.shape[3])
    down, over_y = _axis(top, height, images.shape[2])
    shape = len(images), *images.shape[2:]
    grid = torch.stack((across[:, None].expand(shape), down[:, :, None].expand(shape)), dim=3)
    resized = F.grid_sample(images, grid, padding_mode="border", align_corners=True)
    return resized * (over_y[:, :, None] & over_x[:, None])[:, None]


def _axis(start: Tensor, size: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """(B, length) where each output pixel reads, -1 and 1 being the centers at the ends, and whether it reads."""
    place = torch.arange(length, device=start.device) - start[:, None]
    source = ((place + 0.5) * (length / size[:, None]) - 0.5).clamp(0, length - 1)
    return source * (2 / max(1, length - 1)) - 1, (place >= 0) & (place < size[:, None])
