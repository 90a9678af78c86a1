"""Artifacts on cloth: a thin plate bent by its control points (Bookstein 1989).

The place of the artifact that is seen at p is p + f(p), where f takes the displacements d_i at the control points c_i,

    f(p) = a + A p + sum_i w_i U(|p - c_i|),   U(r) = r^2 log r^2,   sum_i w_i = 0,   sum_i w_i c_i = 0

and bends least among all functions that do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from ...access.parameters import Bounds, NonNegativeFloat
from ...random import Key
from ..stage import around
from .placement import Placement


@dataclass(frozen=True)
class Displaced:
    """Displacements (B, n * n, 2) of the control points, row by row, right and down in widths of the artifact."""

    by: Tensor


@dataclass(frozen=True, kw_only=True)
class ThinPlate(Placement[Displaced]):
    """An artifact on cloth, whose wrinkles displace its n x n control points at random.

    Args:
        points: n, to a side.
        bend: largest displacement of a control point, in widths of the artifact.
    """

    family: str = "held-out"
    points: Annotated[int, Bounds(ge=2, le=8)] = 3
    bend: NonNegativeFloat = 0.06

    @property
    def surface_varies(self) -> bool:
        return self.bend > 0

    def sample_surface(self, key: Key, like: Tensor) -> Displaced:
        return Displaced(around(key, "bend", self.bend * self.severity, like, (self.points**2, 2)))

    def unroll(self, x: Tensor, y: Tensor, surface: Displaced, aspect: float) -> tuple[Tensor, Tensor, Tensor | None]:
        controls = control_points(self.points, aspect, x)
        weights = spline_weights(controls, surface.by)
        moved = []
        for axis, place in enumerate((x, y)):
            w = weights[:, :, axis, None, None]
            made = place + w[:, -3] + w[:, -2] * x + w[:, -1] * y
            for number, (at_x, at_y) in enumerate(controls):
                made = made + w[:, number] * bending((x - at_x) ** 2 + (y - at_y) ** 2)
            moved.append(made)
        return moved[0], moved[1], None


def control_points(points: int, aspect: float, like: Tensor) -> Tensor:
    """Return (n * n, 2): x and y of a grid over the artifact, row by row."""
    steps = torch.linspace(-0.5, 0.5, points, dtype=like.dtype, device=like.device)
    down, across = torch.meshgrid(steps * aspect, steps, indexing="ij")
    return torch.stack((across.flatten(), down.flatten()), 1)


def bending(squared: Tensor) -> Tensor:
    """Return r^2 log r^2 of squared distances, 0 at 0, with a finite gradient there."""
    return squared * squared.clamp_min(torch.finfo(squared.dtype).tiny).log()


def spline_weights(controls: Tensor, displacements: Tensor) -> Tensor:
    """Return (B, n * n + 3, 2): weights w of the control points, then the constant and the linear part, per axis."""
    count = len(controls)
    kernel = bending((controls[:, None] - controls).square().sum(2))
    plane = torch.cat((torch.ones_like(controls[:, :1]), controls), 1)
    system = torch.cat((torch.cat((kernel, plane), 1), torch.cat((plane.T, kernel.new_zeros(3, 3)), 1)), 0)
    inverse: Tensor = torch.linalg.inv(system.double()).to(displacements)
    return inverse[:, :count] @ displacements
