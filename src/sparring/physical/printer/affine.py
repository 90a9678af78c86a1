"""A printer as a straight line between its black and its white, as patch attacks model it.

    y = contrast * (black + (white - black) x - 0.5) + 0.5 + brightness

The code of Thys et al. 2019 (arXiv:1904.08653) varies contrast and brightness for what printing changes; Athalye et
al. 2018 (arXiv:1707.07397) model printing so too. The thirty printed colours in the code of Sharif et al. 2016 reach
from 0.06 to 0.76.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Self

from torch import Tensor

from ...access.parameters import Bounds, NonNegativeFloat
from ...errors import ConfigError
from ...random import Key
from ..stage import around, per_image
from .printer import Printer

FLATTEST = 0.05  # contrast: no severity turns black into white
Share = Annotated[float, Bounds(ge=0, le=1)]


@dataclass(frozen=True)
class AffineParameters:
    """Factor and summand (B, C) of each channel."""

    scale: Tensor
    offset: Tensor


@dataclass(frozen=True, kw_only=True)
class AffinePrinter(Printer[AffineParameters]):
    """Artifacts (B, C, h, w) in sRGB, between the printer's black and white, with random contrast and brightness.

    Args:
        black, white: the darkest and the lightest value on paper, in sRGB.
        contrast: largest deviation of the contrast from 1 (0.2 in the code of Thys et al.).
        brightness: largest deviation of the brightness (0.1 there).
        tint: largest deviation of each channel's brightness by itself.
    """

    family: str = "optimization"
    black: Share = 0.06
    white: Share = 0.9
    contrast: NonNegativeFloat = 0.2
    brightness: NonNegativeFloat = 0.1
    tint: NonNegativeFloat = 0.02

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.black >= self.white:
            raise ConfigError(f"AffinePrinter black={self.black} is not below white={self.white}; exchange them")

    @property
    def stochastic(self) -> bool:
        return self.severity > 0 and max(self.contrast, self.brightness, self.tint) > 0

    def sample(self, key: Key, like: Tensor, context: object = None) -> AffineParameters:
        channels, severity = like.shape[1], self.severity
        contrast = (1 + around(key, "contrast", self.contrast * severity, like, (1,))).clamp_min(FLATTEST)
        brightness = around(key, "brightness", self.brightness * severity, like, (1,))
        tint = around(key, "tint", self.tint * severity, like, (channels,))
        black, white = severity * self.black, 1 - severity * (1 - self.white)
        scale = (contrast * max(white - black, FLATTEST)).expand(-1, channels)
        return AffineParameters(scale, contrast * (black - 0.5) + 0.5 + brightness + tint)

    def apply_parameters(self, x: Tensor, parameters: AffineParameters, context: object = None) -> Tensor:
        return (x * per_image(parameters.scale) + per_image(parameters.offset)).clamp(0, 1)

    def _steady(self) -> Self:
        return replace(self, contrast=0.0, brightness=0.0, tint=0.0)
