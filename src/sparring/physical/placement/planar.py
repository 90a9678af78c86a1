"""Flat artifacts: as they face the camera, and turned away from it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...access.parameters import NonNegativeFloat, PositiveFloat
from ...errors import ConfigError
from ...random import Key
from ..stage import around, between
from .placement import Placement

STEEPEST = 85.0  # degrees; at 90 nothing is seen of the artifact


@dataclass(frozen=True)
class Flat:
    """The surface of `Planar`, which has no parameters."""


@dataclass(frozen=True, kw_only=True)
class Planar(Placement[Flat]):
    """A flat artifact that faces the camera: only size, place and roll vary."""

    family: str = "optimization"

    @property
    def surface_varies(self) -> bool:
        return False

    def sample_surface(self, key: Key, like: Tensor) -> Flat:
        return Flat()


@dataclass(frozen=True)
class Turned:
    """Angles (B,) in radians about the vertical and the horizontal axis, and the camera's distance (B,) in widths."""

    yaw: Tensor
    pitch: Tensor
    distance: Tensor


@dataclass(frozen=True, kw_only=True)
class Homography(Placement[Turned]):
    """A flat artifact turned in space, and seen by a pinhole camera that looks at its middle.

    A place (x, y) of the artifact is turned to (X, Y, Z) and seen at d / (d + Z) (X, Y).

    Args:
        yaw: largest turn about the vertical axis, in degrees; the right side goes away from the camera where it is
            above 0.
        pitch: largest turn about the horizontal axis, in degrees; the upper side goes away where it is above 0.
        distance: of the camera, nearest and farthest, in widths of the artifact: how strong the perspective is.
    """

    ranges = ("distance",)
    family: str = "optimization"
    yaw: NonNegativeFloat = 25.0
    pitch: NonNegativeFloat = 15.0
    distance: tuple[PositiveFloat, PositiveFloat] = (2.0, 6.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.distance[0] < 1:
            raise ConfigError(f"Homography distance={self.distance}; the camera is at least one width away")

    @property
    def surface_varies(self) -> bool:
        return max(self.yaw, self.pitch) > 0

    def sample_surface(self, key: Key, like: Tensor) -> Turned:
        yaw, pitch = (
            around(key, word, amount * self.severity, like).clamp(-STEEPEST, STEEPEST).deg2rad()
            for word, amount in (("yaw", self.yaw), ("pitch", self.pitch))
        )
        return Turned(yaw, pitch, between(key, "distance", self.distance, like))

    def pose(self, surface: Turned, frame: Tensor) -> Tensor:
        return frame @ perspective(surface)


def perspective(turned: Turned) -> Tensor:
    """Return (B, 3, 3): the homographies from a plane to its picture, when it is pitched, then yawed."""
    yaw_cos, yaw_sin = turned.yaw.cos(), turned.yaw.sin()
    pitch_cos, pitch_sin = turned.pitch.cos(), turned.pitch.sin()
    zero, one = torch.zeros_like(yaw_cos), torch.ones_like(yaw_cos)
    # depth after the pitch is -y sin(pitch), which the yaw turns into x
    rows = (
        (yaw_cos, yaw_sin * pitch_sin, zero),
        (zero, pitch_cos, zero),
        (yaw_sin / turned.distance, -yaw_cos * pitch_sin / turned.distance, one),
    )
    return torch.stack([torch.stack(row, 1) for row in rows], 1)
