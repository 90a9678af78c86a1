"""Median smoothing (Xu, Evans & Qi 2017, arXiv:1704.01155, section 3.2).

x_i -> the median of the kernel_size x kernel_size pixels around i, channel by channel, edges mirrored
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ...random import Key
from ...transforms import Stage
from ..parameters import check_whole
from .padding import windows


@dataclass(frozen=True)
class Median(Stage):
    """Filter images (B, C, H, W) by a median; differentiable: the slope is that of the pixel chosen.

    Args:
        kernel_size: width of the window, at most 255; 2 in Xu et al. on digits and photographs. An even window takes
            the upper of its two middle values and reaches up and to the left, as scipy's does.

    Raises: ConfigError.
    """

    kernel_size: int = 2

    def __post_init__(self) -> None:
        check_whole(self, "kernel_size", self.kernel_size, 1, 255)

    def __call__(self, images: Tensor, key: Key) -> Tensor:
        return windows(images, self.kernel_size).kthvalue(self.kernel_size**2 // 2 + 1, dim=4).values
