"""JPEG as a camera stores its images: a differentiable codec to optimise through, and libjpeg to judge by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from ...access.parameters import Bounds
from ...random import Key
from ...transforms import straight_through
from ...transforms.jpeg_codec import cubic_rounding, encode_decode, mean_rounding, no_rounding, straight_rounding
from ...transforms.libjpeg import through_libjpeg
from ..stage import PhysicalStage, check_choice, differentiated

Quality = Annotated[int, Bounds(ge=1, le=100)]
ROUNDINGS = {"mean": mean_rounding, "cubic": cubic_rounding, "none": no_rounding, "straight": straight_rounding}


@dataclass(frozen=True)
class Qualities:
    """libjpeg's quality (B,), int64."""

    quality: Tensor


@dataclass(frozen=True, kw_only=True)
class Codec(PhysicalStage[Qualities]):
    """Base class of codecs.

    Args:
        quality: worst and best quality, 1 to 100. Severity is a factor of what is missing to 100.
    """

    ranges = ("quality",)

    quality: tuple[Quality, Quality] = (50, 95)

    @property
    def stochastic(self) -> bool:
        return self.severity > 0 and self.quality[0] < self.quality[1]

    def sample(self, key: Key, like: Tensor, context: object = None) -> Qualities:
        worst, best = self.quality
        drawn = worst + key.integers("quality", (), best - worst + 1)
        return Qualities((100 - (100 - drawn) * self.severity).round().long().clamp_min(1))


@dataclass(frozen=True, kw_only=True)
class DifferentiableJPEG(Codec):
    """Images (B, 1 or 3, H, W) in sRGB through a JPEG codec in floating point whose rounding has a slope.

    Args:
        rounding: "cubic" (Shin & Song 2017), "none", or the "mean" of the two, by which the most attacks pass libjpeg;
            "straight" rounds, with the slope of the mean, so that the gradient is not that of the forward pass.
    """

    family: str = "optimization"
    rounding: str = "mean"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self, "rounding", self.rounding, ROUNDINGS)

    @property
    def exact_gradient(self) -> bool:
        return self.rounding != "straight" or self.severity == 0

    def apply_parameters(self, x: Tensor, parameters: Qualities, context: object = None) -> Tensor:
        if self.severity == 0:
            return x
        return encode_decode(x, parameters.quality, ROUNDINGS[self.rounding]).clamp(0, 1)


@dataclass(frozen=True, kw_only=True)
class LibJPEG(Codec):
    """Images (B, 1 or 3, H, W) in sRGB through libjpeg itself; the gradient is that of `DifferentiableJPEG`."""

    family: str = "held-out"

    @property
    def exact_gradient(self) -> bool:
        return self.severity == 0

    def apply_parameters(self, x: Tensor, parameters: Qualities, context: object = None) -> Tensor:
        if self.severity == 0:
            return x
        x = x.clamp(0, 1)
        with torch.no_grad():
            stored = through_libjpeg(x, parameters.quality.tolist())
        return (
            straight_through(stored, encode_decode(x, parameters.quality, mean_rounding))
            if differentiated(x)
            else stored
        )
