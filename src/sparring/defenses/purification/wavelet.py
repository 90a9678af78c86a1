"""Soft thresholding of Haar wavelets (Donoho 1995; as part of a defence Prakash et al. 2018, arXiv:1801.08926).

    x -> W^-1 soft(W x),     soft(c) = sign(c) max(|c| - T, 0) in every band but the coarsest mean

    VisuShrink   T = sigma sqrt(2 log n), n the pixels of a channel             (Donoho & Johnstone 1994)
    BayesShrink  T = sigma^2 / sqrt(max(mean(c^2) - sigma^2, 0)), per band      (Chang, Yu & Vetterli 2000)

sigma is given, or the median of |c| in the finest diagonal band / 0.6745, channel by channel. W is orthonormal; sides
that are no multiples of 2^wavelet_levels are mirrored.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import ConfigError
from ...random import Key
from ...transforms import Stage
from ..parameters import check_number, check_whole
from .padding import mirror_pad

METHODS = ("BayesShrink", "VisuShrink")
NORMAL = 0.6744897501960817  # the median of |c| where c is standard normal


@dataclass(frozen=True)
class Wavelet(Stage):
    """Shrink the small wavelet coefficients of images (B, C, H, W); differentiable.

    Args:
        method: "BayesShrink" or "VisuShrink", as scikit-image calls them.
        sigma: of the noise, in units of pixels; 0.04 in Prakash et al., None: measured.
        wavelet_levels: how often the mean is taken apart.

    Raises: ConfigError.
    """

    method: str = "BayesShrink"
    sigma: float | None = 0.04
    wavelet_levels: int = 2

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ConfigError(f"Wavelet method={self.method!r}; pass one of {', '.join(METHODS)}")
        check_whole(self, "wavelet_levels", self.wavelet_levels, 1, 10)
        if self.sigma is not None:
            check_number(self, "sigma", self.sigma, 0)

    def __call__(self, images: Tensor, key: Key) -> Tensor:
        height, width = images.shape[2:]
        unit = 2**self.wavelet_levels
        over = max(-height % unit, -width % unit)
        wide = mirror_pad(images, 0, over)[:, :, : height + -height % unit, : width + -width % unit]
        mean, bands = wide, []
        for _ in range(self.wavelet_levels):
            mean, band = haar_transform(mean)
            bands.append(band)
        sigma = self._sigma(bands[0])
        for band in reversed(bands):
            mean = inverse_haar_transform(mean, soft_threshold(band, self._threshold(band, sigma, height * width)))
        return mean[:, :, :height, :width].clamp(0, 1)

    def _sigma(self, finest: Tensor) -> Tensor:
        """(B, C, 1, 1, 1) the noise."""
        if self.sigma is not None:
            return finest.new_full((), self.sigma)
        return (finest[:, :, 2].abs().flatten(2).median(2).values / NORMAL)[:, :, None, None, None]

    def _threshold(self, band: Tensor, sigma: Tensor, pixels: int) -> Tensor:
        if self.method == "VisuShrink":
            return sigma * math.sqrt(2 * math.log(pixels))
        signal = (band.square().mean((3, 4), keepdim=True) - sigma**2).clamp_min(torch.finfo(band.dtype).tiny)
        return sigma**2 / signal.sqrt()


def haar_transform(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return one level of W: the mean (B, C, H / 2, W / 2), and rows, columns and diagonals (B, C, 3, H / 2, W / 2)."""
    a, b = images[:, :, ::2, ::2], images[:, :, ::2, 1::2]
    c, d = images[:, :, 1::2, ::2], images[:, :, 1::2, 1::2]
    return (a + b + c + d) / 2, torch.stack((a + b - c - d, a - b + c - d, a - b - c + d), 2) / 2


def inverse_haar_transform(mean: Tensor, bands: Tensor) -> Tensor:
    """Return the images that `haar_transform` takes apart."""
    rows, columns, diagonals = bands.unbind(2)
    a, b = mean + rows + columns + diagonals, mean + rows - columns - diagonals
    c, d = mean - rows + columns - diagonals, mean - rows - columns + diagonals
    upper, lower = torch.stack((a, b), 4).flatten(3), torch.stack((c, d), 4).flatten(3)
    return torch.stack((upper, lower), 3).flatten(2, 3) / 2


def soft_threshold(values: Tensor, threshold: Tensor) -> Tensor:
    """Return every value moved towards 0 by the threshold, and 0 within it."""
    return values - torch.clamp(values, -threshold, threshold)
