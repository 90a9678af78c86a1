"""A flow field that moves pixels and keeps their values (stAdv: Xiao et al. 2018, arXiv:1801.02612).

    x'(p) = x(p + f(p)),  |f_i(p)| <= max_pixels                                                          (eq. 1)

Departures: the flow is held within a ball by the attack, as other perturbations are, where the paper adds the total
variation of the flow to the loss; `smoothing` takes the place of that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from ..errors import ConfigError, InputError
from ..inputs import Images, Inputs
from ..random import Key
from ..tasks import Classification, Task, Verification
from .scene import move_places, scene_images
from .transform import Transform
from .warp import places, sample


@dataclass(frozen=True)
class FlowField(Transform):
    """(B, 2, H, W) displacements in pixels, down and right -> the images of the context, moved.

        pipeline = Pipeline(target, FlowField())
        run(PGD(Linf(1.0)), pipeline, goal, torch.zeros(n, 2, h, w), context=Scene(images=x))

    Landmarks and boxes of the context move along.

    Args:
        max_pixels: the largest displacement in each direction, the range of the flow.
        smoothing: standard deviation in pixels of a Gaussian that the flow passes; 0: none. Its range stays.
    """

    max_pixels: float = 4.0
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        given = self.max_pixels, self.smoothing
        if not all(isinstance(one, int | float) for one in given) or not (
            0 < self.max_pixels < math.inf and 0 <= self.smoothing < 100
        ):
            raise ConfigError(
                f"FlowField max_pixels={self.max_pixels}, smoothing={self.smoothing}; pass max_pixels > 0 and a "
                "smoothing of 0 or some pixels"
            )

    @property
    def inputs(self) -> Inputs | None:
        return Images(-self.max_pixels, self.max_pixels)

    @property
    def tasks(self) -> tuple[type[Task], ...] | None:
        return Classification, Verification

    def apply(self, x: Tensor, key: Key, context: Any) -> tuple[Tensor, Any]:
        images = scene_images(context, self.name)
        if x.shape[1:] != (2, *images.shape[2:]):
            raise InputError(
                f"a flow for images {tuple(images.shape[2:])} is (N, 2, {images.shape[2]}, {images.shape[3]}); got "
                f"{tuple(x.shape)}"
            )
        down, right = places(images)
        flow = blurred(x, self.smoothing) if self.smoothing else x
        moved = sample(images, down + flow[:, 0], right + flow[:, 1], "border")
        return moved, move_places(context, lambda points: _moved(points, flow))


def _moved(points: Tensor, flow: Tensor) -> Tensor:
    """Return where points (B, K, 2) come to under a flow (B, 2, H, W): the p with p + f(p) = point, looked for twice.

    It is exact where the flow does not change around a point; where it folds the image, no point is right.
    """
    place = points.to(flow)
    for _ in range(2):
        at = place - 0.5
        displaced = sample(flow, at[:, None, :, 1], at[:, None, :, 0], "border")[:, :, 0]
        place = points.to(flow) - displaced.flip(1).mT
    return place


def blurred(x: Tensor, sigma: float) -> Tensor:
    """Return x (B, C, H, W) under a Gaussian of standard deviation `sigma` pixels, cut off at three of them."""
    reach = max(1, round(3 * sigma))
    way = torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device)
    weights = (-(way**2) / (2 * sigma**2)).exp()
    weights = (weights / weights.sum()).expand(x.shape[1], 1, 1, -1)
    wide = pad(x, (reach,) * 4, mode="replicate")
    across = conv2d(wide, weights, groups=x.shape[1])
    return conv2d(across, weights.transpose(2, 3), groups=x.shape[1])
