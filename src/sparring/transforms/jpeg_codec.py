"""JPEG in floating point, differentiable but for the rounding, which the caller chooses.

Color to YCbCr (JFIF), chroma halved in both directions (4:2:0), 8 x 8 blocks through the orthonormal cosine transform,
divided by the tables of ITU-T T.81 annex K scaled as libjpeg scales them, rounded, and all of it back. Chroma is
averaged 2 x 2 on the way down and interpolated with the weights 3/4, 1/4 on the way up, edges repeated, as libjpeg
does. Not modelled: libjpeg's rounding of pixels to bytes, within the codec and at its end, and the plain repetition of
chroma in images at most 4 pixels wide.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
CHROMINANCE = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99, *[99] * 32,
)  # fmt: skip
TO_YCBCR = ((0.299, 0.587, 0.114), (-0.168735892, -0.331264108, 0.5), (0.5, -0.418687589, -0.081312411))
TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136286, -0.714136286), (1.0, 1.772, 0.0))
Rounding = Callable[[Tensor], Tensor]


def encode_decode(images: Tensor, quality: int | Tensor, rounding: Rounding) -> Tensor:
    """Return images (B, 1 or 3, H, W) in [0, 1] encoded and decoded; the result may reach beyond [0, 1].

    `quality` is libjpeg's, 1 to 100: one for all, or an int64 tensor (B,).
    """
    quality = torch.as_tensor(quality, device=images.device).view(-1)
    levels = images * 255 - 128
    if images.shape[1] == 1:
        return (_quantised(levels, quantization_table(LUMINANCE, quality), rounding) + 128) / 255
    height, width = images.shape[2:]
    mixed = torch.einsum("kc,bchw->bkhw", levels.new_tensor(TO_YCBCR), levels + 128)
    luma = _quantised(mixed[:, :1] - 128, quantization_table(LUMINANCE, quality), rounding) + 128
    small = _quantised(_halved(mixed[:, 1:]), quantization_table(CHROMINANCE, quality), rounding)
    chroma = F.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False)[:, :, :height, :width]
    return torch.einsum("ck,bkhw->bchw", levels.new_tensor(TO_RGB), torch.cat((luma, chroma), 1)) / 255


def quantization_table(base: tuple[int, ...], quality: Tensor) -> Tensor:
    """Return the quantisation steps (B, 64), int64, row by row, of libjpeg's qualities (B,) from 1 to 100."""
    scale = torch.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    return ((quality.new_tensor(base) * scale[:, None] + 50) // 100).clamp(1, 255)


def cubic_rounding(values: Tensor) -> Tensor:
    """Return round(x) + (x - round(x))^3: rounding with a slope (Shin & Song 2017)."""
    whole = values.round()
    return whole + (values - whole) ** 3


def mean_rounding(values: Tensor) -> Tensor:
    """Return the mean of `cubic_rounding` and `no_rounding`: round(x) + (d + d^3) / 2, d = x - round(x)."""
    whole = values.round()
    return whole + ((values - whole) + (values - whole) ** 3) / 2


def straight_rounding(values: Tensor) -> Tensor:
    """Return the rounded values, with the slope of `mean_rounding`."""
    smooth = mean_rounding(values)
    return smooth + (values.round() - smooth).detach()


def no_rounding(values: Tensor) -> Tensor:
    """Return the values as they are: slope 1 everywhere."""
    return values


def _halved(chroma: Tensor) -> Tensor:
    """(B, 2, ceil(H / 2), ceil(W / 2)): means of 2 x 2 pixels, edges repeated."""
    height, width = chroma.shape[2:]
    return F.avg_pool2d(F.pad(chroma, (0, width % 2, 0, height % 2), mode="replicate"), 2)


def _quantised(planes: Tensor, steps: Tensor, rounding: Rounding) -> Tensor:
    """Planes (B, C, H, W) around 0 through the cosine transform, the quantiser, and back."""
    height, width = planes.shape[2:]
    padded = F.pad(planes, (0, -width % 8, 0, -height % 8), mode="replicate")
    blocks = padded.unfold(2, 8, 8).unfold(3, 8, 8)  # (B, C, H / 8, W / 8, 8, 8)
    basis = padded.new_tensor(_cosines())
    divisor = steps.to(padded).view(-1, 1, 1, 1, 8, 8)
    frequencies = rounding(basis @ blocks @ basis.T / divisor) * divisor
    whole = (basis.T @ frequencies @ basis).transpose(3, 4).flatten(4, 5).flatten(2, 3)
    return whole[:, :, :height, :width]


@cache
def _cosines() -> list[list[float]]:
    """Return the orthonormal cosine transform of 8 values, frequencies in rows."""
    return [
        [math.sqrt((1 if k == 0 else 2) / 8) * math.cos(math.pi * (2 * n + 1) * k / 16) for n in range(8)]
        for k in range(8)
    ]
