"""Artifacts on surfaces that are curved about a vertical axis: a cylinder, and the parabola of a forehead.

Both are seen from far away. The surface recedes by z(x) from the plane that touches it in its middle, x to the right,
and s(x) is the length of paper from the middle to x. The surface is then pitched about the horizontal axis, by which
what recedes comes to lie lower, and the place of the artifact that is seen at (x, y) is

    u = s(x)        v = (y - z(x) sin(pitch)) / cos(pitch)

Komkov & Petiushko 2019 (AdvHat, arXiv:1908.08705): z = a x^2 and this pitch. All lengths are in widths of
the artifact. Places are exact and have gradients with respect to curvature and pitch, which AdvHat's code rounds
to whole pixels.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from ...access.parameters import NonNegativeFloat, PositiveFloat
from ...errors import ConfigError
from ...random import Key
from ..stage import around, between, check_length
from .anchor import RealNumber
from .placement import Placement

FLATTEST = 1e-6  # curvature, below which a surface counts as flat
STEEPEST = 80.0
EDGE = 0.999  # of the radius, beyond which a cylinder is seen too flat to show anything


@dataclass(frozen=True)
class Bent:
    """Curvature (B,) in 1 / width, turn about the axis and pitch (B,) in radians."""

    curvature: Tensor
    turn: Tensor
    pitch: Tensor


S = TypeVar("S", bound=Bent)


@dataclass(frozen=True, kw_only=True)
class Curved(Placement[Bent]):
    """Base class of surfaces curved about a vertical axis.

    Args:
        pitch: mean and largest deviation of the pitch, in degrees.
    """

    pitch: tuple[RealNumber, RealNumber]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_length(self, "pitch", self.pitch, 2)
        if self.pitch[1] < 0 or sum(map(abs, self.pitch)) * self.severity > STEEPEST:
            raise ConfigError(
                f"{self.name} pitch={self.pitch} at severity {self.severity}; pass the mean and the largest deviation, "
                f"together at most {STEEPEST:g} degrees"
            )

    @abstractmethod
    def profile(self, x: Tensor, curvature: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return length of paper, depth and whether the surface is seen, at x (B, H, W) with curvature (B, 1, 1)."""

    def draw_pitch(self, key: Key, like: Tensor) -> Tensor:
        """Draw the pitch (B,) in radians."""
        mean, most = self.pitch
        return (mean * self.severity + around(key, "pitch", most * self.severity, like)).deg2rad()

    def unroll(self, x: Tensor, y: Tensor, surface: Bent, aspect: float) -> tuple[Tensor, Tensor, Tensor | None]:
        curvature, turn, pitch = (
            one[:, None, None] for one in (surface.curvature.clamp_min(FLATTEST), surface.turn, surface.pitch)
        )
        length, depth, seen = self.profile(x, curvature)
        return length - turn / curvature, (y - depth * pitch.sin()) / pitch.cos(), seen


@dataclass(frozen=True, kw_only=True)
class Parabola(Curved):
    """The artifact on a forehead, which is a parabola in cross-section: z = a x^2 (AdvHat).

    Args:
        curvature: smallest and largest a, in 1 / width. AdvHat: 0.0013 +- 0.0002 for each pixel of a canvas 900 wide.
        pitch: mean and largest deviation in degrees; AdvHat: 17 +- 2.
    """

    ranges = ("curvature",)
    family: str = "optimization"
    curvature: tuple[NonNegativeFloat, NonNegativeFloat] = (0.99, 1.35)
    pitch: tuple[RealNumber, RealNumber] = (17.0, 2.0)

    @property
    def surface_varies(self) -> bool:
        return self.pitch[1] > 0 or self.curvature[0] < self.curvature[1]

    def sample_surface(self, key: Key, like: Tensor) -> Bent:
        curvature = between(key, "curvature", self.curvature, like) * self.severity
        return Bent(curvature, torch.zeros_like(curvature), self.draw_pitch(key, like))

    def profile(self, x: Tensor, curvature: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        slope = 2 * curvature * x
        length = x / 2 * (1 + slope**2).sqrt() + torch.asinh(slope) / (4 * curvature)
        return length, curvature * x**2, None


@dataclass(frozen=True, kw_only=True)
class Cylinder(Curved):
    """The artifact around a cylinder with a vertical axis: a bottle, a post, a sleeve.

    Args:
        radius: smallest and largest, in widths of the artifact.
        turn: largest turn about the axis, in degrees.
        pitch: mean and largest deviation in degrees.
    """

    ranges = ("radius",)
    family: str = "held-out"
    radius: tuple[PositiveFloat, PositiveFloat] = (0.5, 1.5)
    turn: NonNegativeFloat = 15.0
    pitch: tuple[RealNumber, RealNumber] = (0.0, 15.0)

    @property
    def surface_varies(self) -> bool:
        return max(self.turn, self.pitch[1]) > 0 or self.radius[0] < self.radius[1]

    def sample_surface(self, key: Key, like: Tensor) -> Bent:
        curvature = self.severity / between(key, "radius", self.radius, like)
        turn = around(key, "turn", min(self.turn * self.severity, STEEPEST), like).deg2rad()
        return Bent(curvature, turn, self.draw_pitch(key, like))

    def profile(self, x: Tensor, curvature: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        sine = curvature * x
        held = sine.clamp(-EDGE, EDGE)
        depth = held * (held / curvature) / (1 + (1 - held**2).sqrt())
        return torch.asin(held) / curvature, depth, sine.abs() < EDGE
