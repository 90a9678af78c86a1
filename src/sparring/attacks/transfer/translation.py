"""Translation invariance (Dong et al. 2019, arXiv:1904.02884, eq. 7): the gradient, smoothed.

    g = W * grad L(x),  W a Gaussian of k x k pixels that sums to 1

which to first order is the mean gradient over shifted images. Zeros lie around the image, as in the authors' code,
whose kernel reaches over 3 standard deviations to each side: sigma = (k - 1) / 6 pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ...access import Gradient
from ...errors import ConfigError
from ...geometry import Ball
from .trick import Ask, Question, Trick


@dataclass(frozen=True)
class TranslationInvariance(Trick):
    """TI.

    Args:
        kernel: k, in pixels, odd (15 in the paper, for 299 pixels; 7 in Lin et al. 2020). One that does not fit into
            the image is refused, not cut down: its size is part of the result.
        deviations: how many standard deviations it reaches to each side (3 in the authors' code).
    """

    kernel: int = 15
    deviations: float = 3.0

    short: ClassVar[str] = "TI"
    queries_outside_ball: ClassVar[bool] = False
    pixel_grid: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.kernel < 1 or self.kernel % 2 == 0 or not self.deviations > 0:
            raise ConfigError(
                f"TranslationInvariance kernel={self.kernel}, deviations={self.deviations}; pass an odd number of "
                "pixels and a number above 0"
            )

    def check(self, ball: Ball, images: Tensor | None = None) -> None:
        if images is not None and self.kernel > (least := min(images.shape[2:])):
            raise ConfigError(
                f"TranslationInvariance kernel={self.kernel} does not fit into images of "
                f"{images.shape[2]} x {images.shape[3]} pixels; pass an odd number up to {least - 1 + least % 2}"
            )

    def __call__(self, ask: Ask, question: Question) -> Gradient:
        answer = ask(question)
        channels, half = answer.grad.shape[1], self.kernel // 2
        place = torch.arange(-half, half + 1, device=answer.grad.device, dtype=answer.grad.dtype)
        line = (-0.5 * (place * (self.deviations / max(1, half))) ** 2).exp()
        line = (line / line.sum()).expand(channels, 1, 1, -1)
        across = F.conv2d(answer.grad, line, padding=(0, half), groups=channels)
        return replace(answer, grad=F.conv2d(across, line.mT, padding=(half, 0), groups=channels))
