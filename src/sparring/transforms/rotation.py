"""Rotation and translation (Engstrom et al. 2019, arXiv:1712.02779, section 3).

The whole image is turned by an angle about its middle, then shifted. The paper allows 30 degrees and a tenth of each
side. Places outside are black, as in the paper, unless `padding` says otherwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import ConfigError, InputError
from ..inputs import Bounded, Inputs
from ..random import Key
from ..tasks import Classification, Task, Verification
from .scene import move_places, scene_images
from .transform import Transform
from .warp import PADDINGS, places, sample


@dataclass(frozen=True)
class RotationTranslation(Transform):
    """(B, 3) in [-1, 1] -> the images of the context, turned and shifted.

        pipeline = Pipeline(target, RotationTranslation(30, 0.1))
        run(Square(Linf(1.0)), pipeline, goal, torch.zeros(n, 3), context=Scene(images=x))

    The three numbers are shares of the largest angle (counter-clockwise), of the largest shift down and of the largest
    shift to the right. Landmarks and boxes of the context move along.

    Args:
        degrees: the largest angle.
        shift: the largest shift, as a share of each side.
        padding: what lies outside the image: "zeros", "border" or "reflection".
    """

    degrees: float = 30.0
    shift: float = 0.1
    padding: str = "zeros"

    def __post_init__(self) -> None:
        given = self.degrees, self.shift
        if not all(isinstance(one, int | float) for one in given) or not (
            0 <= self.degrees <= 180 and 0 <= self.shift <= 1
        ):
            raise ConfigError(
                f"RotationTranslation degrees={self.degrees}, shift={self.shift}; pass degrees from 0 to 180 and a "
                "share of the side from 0 to 1"
            )
        if self.padding not in PADDINGS:
            raise ConfigError(f"padding {self.padding!r} is unknown; pass one of {', '.join(PADDINGS)}")

    @property
    def inputs(self) -> Inputs | None:
        return Bounded(-1.0, 1.0)

    @property
    def tasks(self) -> tuple[type[Task], ...] | None:
        return Classification, Verification

    def apply(self, x: Tensor, key: Key, context: Any) -> tuple[Tensor, Any]:
        images = scene_images(context, self.name)
        if x.shape[1:] != (3,):
            raise InputError(f"a rotation and translation is (N, 3): angle, down, right; got {tuple(x.shape)}")
        height, width = images.shape[2:]
        angle = x[:, 0, None, None] * math.radians(self.degrees)
        context = move_places(context, lambda points: self._moved(points, x, height, width))
        down, right = places(images)
        # the pixel that comes to (down, right): shifted back, then turned back about the middle
        down = down - (height - 1) / 2 - x[:, 1, None, None] * self.shift * height
        right = right - (width - 1) / 2 - x[:, 2, None, None] * self.shift * width
        rows = angle.cos() * down + angle.sin() * right + (height - 1) / 2
        columns = angle.cos() * right - angle.sin() * down + (width - 1) / 2
        return sample(images, rows, columns, self.padding), context

    def _moved(self, points: Tensor, x: Tensor, height: int, width: int) -> Tensor:
        """Return where points (B, K, 2) come to, as x, y in pixels."""
        angle = x[:, 0, None] * math.radians(self.degrees)
        right, down = points[:, :, 0] - width / 2, points[:, :, 1] - height / 2
        across = angle.sin() * down + angle.cos() * right + width / 2 + x[:, 2, None] * self.shift * width
        along = angle.cos() * down - angle.sin() * right + height / 2 + x[:, 1, None] * self.shift * height
        return torch.stack((across, along), dim=2)
