"""Sensors: noise of photons and electronics, saturation, and whole numbers.

Foi et al. 2008 (IEEE TIP 17:1737): the variance of a raw value x is a x + b, from the Poisson noise of photons (a is
one photon's share of the full well) and the Gaussian noise of reading (b). The noise is x + sqrt(a x + b) n, n standard
normal and part of the parameters, so that it has a gradient with respect to x.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from ...access.parameters import Bounds, NonNegativeFloat
from ...random import Key
from ...transforms import straight_through
from ..colour import Light
from ..stage import PhysicalStage, between, differentiated

LEAST_VARIANCE = 1e-20  # so that the root has a finite gradient where there is no light and no noise of reading


@dataclass(frozen=True)
class Noise:
    """Standard normal noise (B, C, H, W), and the standard deviation (B,) that it is given."""

    normal: Tensor
    deviation: Tensor


@dataclass(frozen=True, kw_only=True)
class GaussianNoise(PhysicalStage[Noise]):
    """Images (B, C, H, W) in sRGB with Gaussian noise, the same in dark and in light, as EOT adds it.

    Args:
        deviation: smallest and largest standard deviation.
    """

    ranges = ("deviation",)
    family: str = "optimization"
    deviation: tuple[NonNegativeFloat, NonNegativeFloat] = (0.0, 0.04)

    @property
    def stochastic(self) -> bool:
        return self.severity > 0 and self.deviation[1] > 0

    def sample(self, key: Key, like: Tensor, context: object = None) -> Noise:
        deviation = between(key, "deviation", self.deviation, like) * self.severity
        return Noise(key.normal("noise", like.shape[1:], dtype=like.dtype), deviation)

    def apply_parameters(self, x: Tensor, parameters: Noise, context: object = None) -> Tensor:
        return (x + parameters.normal * parameters.deviation[:, None, None, None]).clamp(0, 1)


@dataclass(frozen=True)
class Electrons:
    """Standard normal noise (B, C, H, W); a and b (B,) of its variance a x + b."""

    normal: Tensor
    shot: Tensor
    read: Tensor


@dataclass(frozen=True, kw_only=True)
class Sensor(PhysicalStage[Electrons]):
    """Images (B, C, H, W) in linear light as a sensor reads them: noise of variance a x + b, saturation, whole numbers.

    Args:
        shot: smallest and largest a: 0.0005 is a full well of 2,000 photons, as of a telephone indoors.
        read: smallest and largest root of b, as a share of the full well.
        bits: of a raw value; rounding is passed straight through by the gradient. None: real numbers.
    """

    light = Light.LINEAR
    ranges = ("shot", "read")
    family: str = "held-out"
    shot: tuple[NonNegativeFloat, NonNegativeFloat] = (0.0002, 0.002)
    read: tuple[NonNegativeFloat, NonNegativeFloat] = (0.001, 0.004)
    bits: Annotated[int, Bounds(ge=1, le=16)] | None = 10

    @property
    def stochastic(self) -> bool:
        return self.severity > 0 and max(self.shot[1], self.read[1]) > 0

    @property
    def exact_gradient(self) -> bool:
        return self.bits is None or self.severity == 0

    def sample(self, key: Key, like: Tensor, context: object = None) -> Electrons:
        shot = between(key, "shot", self.shot, like) * self.severity**2
        read = (between(key, "read", self.read, like) * self.severity) ** 2
        return Electrons(key.normal("noise", like.shape[1:], dtype=like.dtype), shot, read)

    def apply_parameters(self, x: Tensor, parameters: Electrons, context: object = None) -> Tensor:
        shot, read = (one[:, None, None, None] for one in (parameters.shot, parameters.read))
        deviation = (shot * x.clamp_min(0) + read).clamp_min(LEAST_VARIANCE).sqrt()
        seen = (x + deviation * parameters.normal).clamp(0, 1)
        if self.bits is None or self.severity == 0:
            return seen
        return rounded(seen, 2**self.bits - 1)


def rounded(values: Tensor, levels: int) -> Tensor:
    """Return values in [0, 1] rounded to multiples of 1 / levels, with the gradient of the values themselves."""
    whole = torch.round(values.detach() * levels) / levels
    return straight_through(whole, values) if differentiated(values) else whole
