"""Lenses: blur by diffraction and small errors of focus, a disc where it is out of focus, motion, dark corners."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ...access.parameters import NonNegativeFloat
from ...random import Key
from ..blurring import blur, disc, gaussian, line
from ..colour import Light
from ..stage import PhysicalStage, between
from .exposure import between_turns, centred


@dataclass(frozen=True)
class Sharpness:
    """Standard deviation (B,) of the blur in pixels."""

    sigma: Tensor


@dataclass(frozen=True, kw_only=True)
class GaussianBlur(PhysicalStage[Sharpness]):
    """Images (B, C, H, W) in linear light, blurred by a Gaussian.

    Args:
        sigma: its smallest and largest standard deviation in pixels.
    """

    light = Light.LINEAR
    ranges = ("sigma",)
    family: str = "optimization"
    sigma: tuple[NonNegativeFloat, NonNegativeFloat] = (0.0, 1.0)

    @property
    def stochastic(self) -> bool:
        return self.severity > 0 and self.sigma[0] < self.sigma[1]

    def sample(self, key: Key, like: Tensor, context: object = None) -> Sharpness:
        return Sharpness(between(key, "sigma", self.sigma, like) * self.severity)

    def apply_parameters(self, x: Tensor, parameters: Sharpness, context: object = None) -> Tensor:
        if self.severity * self.sigma[1] == 0:
            return x
        return blur(x, gaussian(parameters.sigma, self.sigma[1] * self.severity))


@dataclass(frozen=True)
class LensParameters:
    """Radius of defocus, length of motion (B,) in pixels; its angle in radians; light lost at the border (B,)."""

    defocus: Tensor
    motion: Tensor
    angle: Tensor
    vignette: Tensor


@dataclass(frozen=True, kw_only=True)
class Lens(PhysicalStage[LensParameters]):
    """Images (B, C, H, W) in linear light through a lens out of focus, held by a hand that moves, with dark corners.

    Args:
        defocus: largest radius of the disc that a point becomes, in pixels.
        motion: longest way of a point during the exposure, in pixels.
        vignette: largest loss of light at a distance of half the longer side from the middle; it grows with the square.
    """

    light = Light.LINEAR
    family: str = "held-out"
    defocus: NonNegativeFloat = 1.2
    motion: NonNegativeFloat = 3.0
    vignette: NonNegativeFloat = 0.2

    @property
    def stochastic(self) -> bool:
        return self.severity > 0 and max(self.defocus, self.motion, self.vignette) > 0

    def sample(self, key: Key, like: Tensor, context: object = None) -> LensParameters:
        defocus, motion, vignette = (
            between(key, word, (0.0, most * self.severity), like)
            for word, most in (("defocus", self.defocus), ("motion", self.motion), ("vignette", self.vignette))
        )
        return LensParameters(defocus, motion, between_turns(key, like), vignette)

    def apply_parameters(self, x: Tensor, parameters: LensParameters, context: object = None) -> Tensor:
        rows, columns = centred(x)
        loss = parameters.vignette[:, None, None, None] * (rows**2 + columns**2)
        x = x * (1 - loss).clamp_min(0)
        if self.defocus * self.severity > 0:
            x = blur(x, disc(parameters.defocus, self.defocus * self.severity))
        if self.motion * self.severity > 0:
            x = blur(x, line(parameters.motion, parameters.angle, self.motion * self.severity))
        return x
