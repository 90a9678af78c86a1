"""What a camera computes: balance of exposure and white in linear light; then tone and sharpness."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ...access.parameters import NonNegativeFloat, PositiveFraction
from ...random import Key
from ..blurring import blur, gaussian
from ..colour import Light, luminance
from ..stage import PhysicalStage, between, per_image

DARKEST = 1e-3  # of the mean light that a camera still corrects


@dataclass(frozen=True)
class BalanceParameters:
    """How far white and exposure are corrected (B,), from 0, not at all, to 1."""

    white: Tensor
    exposure: Tensor


@dataclass(frozen=True, kw_only=True)
class AutoBalance(PhysicalStage[BalanceParameters]):
    """Images (B, C, H, W) in linear light, corrected as if their mean were a grey of a given luminance.

    Args:
        white: smallest and largest share of the correction of each channel's mean to that of all (grey world).
        exposure: smallest and largest share of the correction of the luminance.
        grey: the mean luminance that the camera exposes for.
    """

    light = Light.LINEAR
    ranges = ("white", "exposure")
    family: str = "held-out"
    white: tuple[NonNegativeFloat, NonNegativeFloat] = (0.1, 0.6)
    exposure: tuple[NonNegativeFloat, NonNegativeFloat] = (0.0, 0.5)
    grey: PositiveFraction = 0.2

    @property
    def stochastic(self) -> bool:
        return self.severity > 0 and (self.white[0] < self.white[1] or self.exposure[0] < self.exposure[1])

    def sample(self, key: Key, like: Tensor, context: object = None) -> BalanceParameters:
        white, exposure = (
            (between(key, word, ends, like) * self.severity).clamp(0, 1)
            for word, ends in (("white", self.white), ("exposure", self.exposure))
        )
        return BalanceParameters(white, exposure)

    def apply_parameters(self, x: Tensor, parameters: BalanceParameters, context: object = None) -> Tensor:
        means = x.mean((2, 3), keepdim=True).clamp_min(DARKEST)
        x = x * (means.mean(1, keepdim=True) / means) ** per_image(parameters.white)
        bright = luminance(x).mean((2, 3), keepdim=True).clamp_min(DARKEST)
        return x * (self.grey / bright) ** per_image(parameters.exposure)


@dataclass(frozen=True)
class ToneParameters:
    """Contrast and sharpening (B,)."""

    contrast: Tensor
    sharpening: Tensor


@dataclass(frozen=True, kw_only=True)
class ToneCurve(PhysicalStage[ToneParameters]):
    """Images (B, C, H, W) in sRGB with more contrast in the middle, and sharpened.

    The curve is x + contrast (3 x^2 - 2 x^3 - x). Sharpening adds what a Gaussian of one pixel takes away.

    Args:
        contrast: largest.
        sharpening: largest factor of what is added.
    """

    family: str = "held-out"
    contrast: NonNegativeFloat = 0.4
    sharpening: NonNegativeFloat = 0.6

    @property
    def stochastic(self) -> bool:
        return self.severity > 0 and max(self.contrast, self.sharpening) > 0

    def sample(self, key: Key, like: Tensor, context: object = None) -> ToneParameters:
        contrast, sharpening = (
            between(key, word, (0.0, most * self.severity), like)
            for word, most in (("contrast", self.contrast), ("sharpening", self.sharpening))
        )
        return ToneParameters(contrast.clamp_max(1), sharpening)

    def apply_parameters(self, x: Tensor, parameters: ToneParameters, context: object = None) -> Tensor:
        x = x.clamp(0, 1)
        x = x + per_image(parameters.contrast) * (3 * x**2 - 2 * x**3 - x)
        if self.sharpening * self.severity == 0:
            return x
        soft = blur(x, gaussian(x.new_ones(len(x)), 1.0))
        return (x + per_image(parameters.sharpening) * (x - soft)).clamp(0, 1)
