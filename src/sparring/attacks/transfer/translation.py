"""Translation invariance (Dong et al. 2019, arXiv:1904.02884, eq. 7): the gradient convolved with a Gaussian kernel.

    g = W * grad L(x),  W a Gaussian kernel of k x k pixels that sums to 1

which to first order is the mean gradient over shifted images. Beyond its edges the image is zero. As in the authors'
code the kernel reaches over 3 standard deviations to each side unless sigma is given: sigma = (k - 1) / 6 pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ...access import Gradient, PositiveFloat, PositiveInt
from ...errors import ConfigError
from ...geometry import Ball
from .technique import GradientFunction, GradientQuery, TransferTechnique


@dataclass(frozen=True)
class TranslationInvariance(TransferTechnique):
    """Smooth the gradient by a Gaussian kernel (TI).

    Args:
        kernel_size: k, in pixels, odd (15 in the paper, for 299 pixels; 7 in Lin et al. 2020). One that does not fit
            into the image is refused, since its size is part of the result.
        sigma: the kernel's standard deviation, in pixels; None: (k - 1) / 6.
    """

    kernel_size: PositiveInt = 15
    sigma: PositiveFloat | None = None

    abbreviation: ClassVar[str] = "TI"
    queries_outside_ball: ClassVar[bool] = False
    pixel_grid: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel_size % 2 == 0:
            raise ConfigError(f"TranslationInvariance kernel_size={self.kernel_size}; pass an odd number of pixels")

    def check(self, ball: Ball, images: Tensor | None = None) -> None:
        if images is not None and self.kernel_size > (least := min(images.shape[2:])):
            raise ConfigError(
                f"TranslationInvariance kernel_size={self.kernel_size} does not fit into images of "
                f"{images.shape[2]} x {images.shape[3]} pixels; pass an odd number up to {least - 1 + least % 2}"
            )

    def __call__(self, gradient: GradientFunction, query: GradientQuery) -> Gradient:
        answer = gradient(query)
        channels, half = answer.grad.shape[1], self.kernel_size // 2
        place = torch.arange(-half, half + 1, device=answer.grad.device, dtype=answer.grad.dtype)
        deviations_per_pixel = 3 / max(1, half) if self.sigma is None else 1 / self.sigma
        kernel = (-0.5 * (place * deviations_per_pixel) ** 2).exp()
        kernel = (kernel / kernel.sum()).expand(channels, 1, 1, -1)
        across = F.conv2d(answer.grad, kernel, padding=(0, half), groups=channels)
        return replace(answer, grad=F.conv2d(across, kernel.mT, padding=(half, 0), groups=channels))
