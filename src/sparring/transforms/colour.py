"""A colour curve per channel: one increasing function of the pixel values for the whole image.

The piecewise linear colour filter of Zhao et al. 2020 (Adversarial Color Enhancement, arXiv:2002.01008, section 3.1):
K pieces of equal width in, of a share theta_k of the range out,

    F(v) = sum_{i < k} theta_i + (K v - k) theta_k   on the k-th piece,   theta = softmax(x)

Departure: the shares are a softmax of the variable, so that the curve always rises from 0 to 1 and x = 0 is the
identity, where the paper projects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import ConfigError, InputError
from ..inputs import Bounded, Inputs
from ..random import Key
from .scene import scene_images
from .transform import Transform


@dataclass(frozen=True)
class ColourCurve(Transform):
    """(B, C, K) logarithms of slopes -> the images of the context, each channel under its curve of K pieces.

        pipeline = Pipeline(target, ColourCurve())
        run(PGD(Linf(0.5)), pipeline, goal, torch.zeros(n, 3, 8), context=Scene(images=x))

    Args:
        max_log_slope: the range of the variable; a ball of radius eps lets two slopes differ by exp(2 eps) at most.
    """

    max_log_slope: float = 2.0

    def __post_init__(self) -> None:
        if not isinstance(self.max_log_slope, int | float) or not 0 < self.max_log_slope < 50:
            raise ConfigError(f"ColourCurve max_log_slope={self.max_log_slope}; pass a number above 0, as 2.0")

    @property
    def inputs(self) -> Inputs | None:
        return Bounded(-self.max_log_slope, self.max_log_slope)

    def apply(self, x: Tensor, key: Key, context: Any) -> tuple[Tensor, Any]:
        images = scene_images(context, self.name)
        if x.ndim != 3 or x.shape[1] != images.shape[1]:
            raise InputError(
                f"a colour curve for images of {images.shape[1]} channels is (N, {images.shape[1]}, pieces); got "
                f"{tuple(x.shape)}"
            )
        shares, pieces = x.softmax(2), x.shape[2]
        made = torch.zeros_like(images)
        for piece in range(pieces):  # of a fixed small number; all of them at once would take as much memory each
            made = made + (images * pieces - piece).clamp(0, 1) * shares[:, :, piece, None, None]
        return made.clamp(0, 1), context
