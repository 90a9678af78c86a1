"""Light on the scene: how much of it there is, its colour, and how it changes across the picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...access.parameters import NonNegativeFloat
from ...random import Key
from ..colour import Light
from ..stage import PhysicalStage, around, per_image


@dataclass(frozen=True)
class Gains:
    """Factors (B, C) of the light of each channel."""

    gain: Tensor


@dataclass(frozen=True, kw_only=True)
class Exposure(PhysicalStage[Gains]):
    """Images (B, C, H, W) in linear light, each times one factor, and each channel times another.

    Args:
        stops: largest deviation of the exposure, in factors of two.
        tint: largest deviation of each channel by itself, in factors of two.
    """

    light = Light.LINEAR
    family: str = "optimization"
    stops: NonNegativeFloat = 0.4
    tint: NonNegativeFloat = 0.1

    @property
    def stochastic(self) -> bool:
        return self.severity > 0 and max(self.stops, self.tint) > 0

    def sample(self, key: Key, like: Tensor, context: object = None) -> Gains:
        stops = around(key, "stops", self.stops * self.severity, like, (1,))
        return Gains(torch.exp2(stops + around(key, "tint", self.tint * self.severity, like, (like.shape[1],))))

    def apply_parameters(self, x: Tensor, parameters: Gains, context: object = None) -> Tensor:
        return x * per_image(parameters.gain)


@dataclass(frozen=True)
class Lighting:
    """Factors (B, C) of each channel, and the rise of light (B, 2) to the right and down, over half the picture."""

    gain: Tensor
    gradient: Tensor


@dataclass(frozen=True, kw_only=True)
class Illumination(PhysicalStage[Lighting]):
    """Images (B, C, H, W) in linear light, lit by lamps of another colour, more on one side than on the other.

    The colour is that of a black body, as a camera that is balanced for 6500 K sees it: red gains and blue loses below
    6500 K. The factors of red and blue are exp(+-a m), m = (10^6 / T - 10^6 / 6500) / 100 in units of 100 mired.

    Args:
        stops: largest deviation of the exposure, in factors of two.
        mired: largest deviation of the colour temperature in mired: 100 reach from 6500 K down to 3940 K.
        gradient: largest share by which the light rises or falls from the middle to the border.
    """

    light = Light.LINEAR
    family: str = "held-out"
    stops: NonNegativeFloat = 0.4
    mired: NonNegativeFloat = 60.0
    gradient: NonNegativeFloat = 0.25

    @property
    def stochastic(self) -> bool:
        return self.severity > 0 and max(self.stops, self.mired, self.gradient) > 0

    def sample(self, key: Key, like: Tensor, context: object = None) -> Lighting:
        stops = around(key, "stops", self.stops * self.severity, like, (1,))
        warm = around(key, "mired", self.mired * self.severity, like, (1,)) / 100
        slopes = like.new_tensor(WARMTH if like.shape[1] == len(WARMTH) else [0.0])
        angle = between_turns(key, like)
        steep = around(key, "gradient", min(self.gradient * self.severity, 1.0), like)
        direction = torch.stack((angle.cos(), angle.sin()), 1) * steep[:, None]
        return Lighting(torch.exp2(stops) * (warm * slopes).exp(), direction)

    def apply_parameters(self, x: Tensor, parameters: Lighting, context: object = None) -> Tensor:
        rows, columns = centred(x)
        right, down = parameters.gradient[:, :, None, None, None].unbind(1)
        return x * per_image(parameters.gain) * (1 + right * columns + down * rows).clamp_min(0)


WARMTH = (0.2, 0.0, -0.35)  # ln of the factor of red, green and blue for each 100 mired, near 6500 K


def between_turns(key: Key, like: Tensor) -> Tensor:
    """Draw an angle (B,) uniform in a full turn, in radians."""
    return key.uniform("angle", (), dtype=like.dtype) * (2 * math.pi)


def centred(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return row (H, 1) and column (W,) of each pixel from the middle, -1 and 1 at the border of the longer side."""
    height, width = images.shape[2:]
    half = max(height, width) / 2
    rows = (torch.arange(height, dtype=images.dtype, device=images.device) + 0.5 - height / 2) / half
    columns = (torch.arange(width, dtype=images.dtype, device=images.device) + 0.5 - width / 2) / half
    return rows[:, None], columns
