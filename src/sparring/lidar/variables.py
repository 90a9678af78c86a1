"""What an attacker of a scanner can change, as transforms with inputs of their own: every attack runs on them.

shifted = Pipeline(detector, RangeShift(0.2))
run(PGD(Linf(0.1)), shifted, goal, torch.zeros(n, points), context=LidarScene(points=points, present=present))
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..errors import ConfigError, InputError
from ..inputs import Bounded, Inputs, PointClouds
from ..random import Key
from ..transforms import Transform
from .scene import presence, scene_points

NEAREST = 0.1  # metres from the scanner, within which no range is moved


@dataclass(frozen=True)
class RangeShift(Transform):
    """(B, N) metres -> the points of the context, each moved so far along its ray, away from the scanner.

    The directions stay those of the scanner, as with delayed echoes. Ranges stay at or above a tenth of a metre.

    Args:
        max_metres: the largest shift, the range of the variable.
    """

    max_metres: float = 1.0

    def __post_init__(self) -> None:
        _check_above_zero("RangeShift", max_metres=self.max_metres)

    @property
    def inputs(self) -> Inputs | None:
        return Bounded(-self.max_metres, self.max_metres)

    def apply(self, x: Tensor, key: Key, context: Any) -> tuple[Tensor, Any]:
        points = scene_points(context, self.name).to(x.dtype)
        if x.shape != points.shape[:2]:
            raise InputError(
                f"shifts of clouds {tuple(points.shape)} are {tuple(points.shape[:2])}; got {tuple(x.shape)}"
            )
        ranges = points.square().sum(2).sqrt()
        moved = (ranges + x).clamp_min(NEAREST) / ranges.clamp_min(NEAREST)
        return points * torch.where(ranges > NEAREST, moved, 1)[:, :, None], context


@dataclass(frozen=True)
class MovePoints(Transform):
    """(B, N, 3) in [-1, 1] -> the points of the context, each moved by at most `metres` in L2.

        p + metres * v / max(1, |v|_2)

    `PGD(Linf(1.0))` on it is an attack whose bound holds for each point by itself.

    Args:
        metres: the largest displacement of a point.
    """

    metres: float = 0.1

    def __post_init__(self) -> None:
        _check_above_zero("MovePoints", metres=self.metres)

    @property
    def inputs(self) -> Inputs | None:
        return PointClouds(-1.0, 1.0)

    def apply(self, x: Tensor, key: Key, context: Any) -> tuple[Tensor, Any]:
        points = scene_points(context, self.name).to(x.dtype)
        if x.shape != points.shape:
            raise InputError(f"displacements of clouds {tuple(points.shape)} have that shape; got {tuple(x.shape)}")
        longer = x.square().sum(2, keepdim=True) > 1
        length = torch.where(longer, x, 1).square().sum(2, keepdim=True).sqrt()
        return points + self.metres * torch.where(longer, x / length, x), context


@dataclass(frozen=True)
class AddPoints(Transform):
    """(B, k, 3) points in metres -> the points of the context and these (Xiang et al. 2019, arXiv:1809.07016).

    Args:
        low, high: the range of the coordinates.
    """

    low: float = -100.0
    high: float = 100.0

    def __post_init__(self) -> None:
        PointClouds(self.low, self.high)

    @property
    def inputs(self) -> Inputs | None:
        return PointClouds(self.low, self.high)

    def apply(self, x: Tensor, key: Key, context: Any) -> tuple[Tensor, Any]:
        points = scene_points(context, self.name).to(x.dtype)
        return torch.cat((points, x), dim=1), with_added(context, points, x.shape[1])

    @staticmethod
    def start(context: Any, count: int, key: Key) -> Tensor:
        """Return (B, count, 3): copies of points that are present, drawn from the key, to begin at."""
        points = scene_points(context, "AddPoints")
        order = key.uniform("start", (points.shape[1],)).to(points.device)
        order = order.masked_fill(~presence(points, context), 2).argsort(dim=1)
        order = order[:, torch.arange(count, device=points.device) % order.shape[1]]
        return points.gather(1, order[:, :, None].expand(-1, -1, 3))


@dataclass(frozen=True)
class DropPoints(Transform):
    """(B, N) in [0, 1] -> the points of the context without those whose number is below a half.

    `run(PGD(L0(20)), ..., torch.ones(B, N))` drops twenty points. What is dropped has no gradient; on the backward pass
    a point slides to the middle of the cloud as its number falls (Zheng et al. 2019, arXiv:1812.01687, whose saliency
    of a point is that gradient).
    """

    @property
    def differentiable(self) -> bool:
        return False

    @property
    def inputs(self) -> Inputs | None:
        return Bounded(0.0, 1.0)

    def apply(self, x: Tensor, key: Key, context: Any) -> tuple[Tensor, Any]:
        points, kept = self._points(x, context), x >= 0.5
        there = kept & presence(points, context)
        return torch.where(kept[:, :, None], points, self._middle(points, context)), with_presence(context, there)

    def apply_approximation(self, x: Tensor, key: Key, context: Any) -> Tensor:
        points = self._points(x, context)
        middle = self._middle(points, context)
        return middle + x[:, :, None] * (points - middle)

    def _points(self, x: Tensor, context: Any) -> Tensor:
        points = scene_points(context, self.name).to(x.dtype)
        if x.shape != points.shape[:2]:
            raise InputError(f"{self.name} takes {tuple(points.shape[:2])} for these clouds; got {tuple(x.shape)}")
        return points

    @staticmethod
    def _middle(points: Tensor, context: Any) -> Tensor:
        """Return the mean (B, 1, 3) of the points that are present."""
        there = presence(points, context)[:, :, None]
        return (points * there).sum(1, keepdim=True) / there.sum(1, keepdim=True).clamp_min(1)


@dataclass(frozen=True)
class SpoofPoints(Transform):
    """(B, k, 3) in [-1, 1] -> the points of the context and k spoofed ones in a window of the view (Cao et al. 2019).

    The three numbers of a point are its azimuth, elevation and range, from one end of the window to the other. A laser
    aimed at the scanner can place a bounded number of echoes within a narrow angle, at ranges of its choice
    (arXiv:1907.06826: up to 100 points within 10 degrees). A genuine echo at the same angle, to half a step of the
    scanner, is replaced.

    Args:
        azimuth: of the middle of the window, in degrees, 0 ahead.
        width: of the window, in degrees.
        elevations: its lower and upper end, in degrees.
        ranges: the nearest and farthest echo, in metres.
        step: the angle between rays in degrees, within which an echo takes the place of another; 0: none does.
    """

    azimuth: float = 0.0
    width: float = 10.0
    elevations: tuple[float, float] = (-14.0, 0.0)
    ranges: tuple[float, float] = (5.0, 9.0)
    step: float = 0.4

    def __post_init__(self) -> None:
        low, high = self.elevations
        near, far = self.ranges
        numbers = (self.azimuth, self.width, low, high, near, far, self.step)
        fine = all(isinstance(one, int | float) and math.isfinite(one) for one in numbers)
        if not fine or not (0 < self.width <= 360 and -90 < low < high < 90 and 0 < near < far and self.step >= 0):
            raise ConfigError(
                f"{self} is no window; pass a width in (0, 360], elevations and ranges of which the first is the "
                "smaller, ranges above 0 and step >= 0"
            )

    @property
    def inputs(self) -> Inputs | None:
        return Bounded(-1.0, 1.0)

    def apply(self, x: Tensor, key: Key, context: Any) -> tuple[Tensor, Any]:
        points = scene_points(context, self.name).to(x.dtype)
        if x.ndim != 3 or x.shape[2] != 3:
            raise InputError(f"spoofed points are (N, k, 3): azimuth, elevation and range; got {tuple(x.shape)}")
        directions, ranges = self.echoes(x)
        spoofed = directions * ranges[:, :, None]
        added = with_added(context, points, x.shape[1])
        if self.step:
            genuine = torch.nn.functional.normalize(points, dim=2)
            nearest = (genuine @ directions.detach().transpose(1, 2)).amax(2)
            kept = nearest < math.cos(math.radians(self.step / 2))
            all_spoofed = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
            added = with_presence(added, added.present & torch.cat((kept, all_spoofed), dim=1))
        return torch.cat((points, spoofed), dim=1), added

    def echoes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the unit directions (B, k, 3) and ranges (B, k) of the spoofed points."""
        (low, high), (near, far) = self.elevations, self.ranges
        azimuth = (self.azimuth + self.width / 2 * x[..., 0]).deg2rad()
        elevation = ((low + high) / 2 + (high - low) / 2 * x[..., 1]).deg2rad()
        flat = elevation.cos()
        directions = torch.stack((flat * azimuth.cos(), flat * azimuth.sin(), elevation.sin()), dim=-1)
        return directions, (near + far) / 2 + (far - near) / 2 * x[..., 2]


def with_presence(context: Any, present: Tensor) -> Any:
    """Return the context in which these points (B, N) bool are present, and their weights 0 where they are not."""
    weights = getattr(context, "weights", None)
    kept = None if weights is None else torch.where(present, weights, 0)
    return replace(context, present=present, weights=kept) if weights is not None else replace(context, present=present)


def with_added(context: Any, points: Tensor, count: int) -> Any:
    """Return the context of the points (B, N, 3) and so many more, which are all present."""
    more = torch.ones(len(points), count, dtype=torch.bool, device=points.device)
    changed = {"present": torch.cat((presence(points, context), more), dim=1)}
    weights = getattr(context, "weights", None)
    if weights is not None:
        changed["weights"] = torch.cat((weights, more.to(weights.dtype)), dim=1)
    return replace(context, points=None, **changed)


def _check_above_zero(word: str, **values: float) -> None:
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise ConfigError(f"{word} {name}={value!r}; pass a finite number above 0")
