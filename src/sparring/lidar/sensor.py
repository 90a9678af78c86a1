"""`Lidar`: the rays of a spinning laser scanner, and what it measures along them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ConfigError
from ..random import Key

ELEVATIONS = {16: (-15.0, 15.0), 32: (-30.67, 10.67), 64: (-24.8, 2.0)}  # of usual scanners, degrees
MOST_RAYS = 10_000_000


@dataclass(frozen=True)
class Lidar:
    """A spinning scanner at the origin: x points ahead, y to the left, z up.

    Args:
        elevations: of the beams, in degrees, upwards.
        azimuth_step: degrees between two shots of a beam.
        azimuths: the first and last azimuth in degrees, 0 ahead and counter-clockwise; (-180, 180) is a whole turn.
        min_range, max_range: in metres; nothing nearer or farther is seen.
        range_noise: standard deviation of a range in metres.
        drop_out: probability that a return is lost.
        height: of the scanner above the ground, in metres.

    Raises: ConfigError for beams, ranges or angles that make no scanner.
    """

    elevations: tuple[float, ...]
    azimuth_step: float = 0.2
    azimuths: tuple[float, float] = (-180.0, 180.0)
    min_range: float = 0.5
    max_range: float = 100.0
    range_noise: float = 0.02
    drop_out: float = 0.0
    height: float = 1.73

    def __post_init__(self) -> None:
        if not isinstance(self.elevations, tuple) or not isinstance(self.azimuths, tuple) or len(self.azimuths) != 2:
            raise ConfigError(
                f"elevations={self.elevations!r:.60}, azimuths={self.azimuths!r:.60}; pass tuples, two azimuths"
            )
        angles = (*self.elevations, self.azimuth_step, *self.azimuths)
        numbers = (*angles, self.min_range, self.max_range, self.range_noise, self.drop_out, self.height)
        if not all(isinstance(one, int | float) and math.isfinite(one) for one in numbers) or not self.elevations:
            raise ConfigError(f"{self} is made of finite numbers, and has one beam at least")
        wrong = [
            word
            for word, fine in (
                ("elevations lie in (-90, 90), each once", min(self.elevations) > -90 and max(self.elevations) < 90),
                ("elevations lie in (-90, 90), each once", len(set(self.elevations)) == len(self.elevations)),
                ("azimuth_step is above 0", self.azimuth_step > 0),
                ("azimuths are a turn or less, first < last", 0 < self.azimuths[1] - self.azimuths[0] <= 360),
                ("0 <= min_range < max_range", 0 <= self.min_range < self.max_range),
                ("range_noise is 0 or more, drop_out in [0, 1)", self.range_noise >= 0 and 0 <= self.drop_out < 1),
                ("height is above 0", self.height > 0),
            )
            if not fine
        ]
        if wrong:
            raise ConfigError(f"{self}: {wrong[0]}")
        if self.shape[0] * self.shape[1] > MOST_RAYS:
            raise ConfigError(f"{self} has {self.shape[0] * self.shape[1]:,} rays; the most are {MOST_RAYS:,}")

    @classmethod
    def of_beams(cls, beams: int, **parameters: float | tuple[float, float]) -> Lidar:
        """Return a scanner of 16, 32 or 64 beams with the usual elevations, evenly spaced; `parameters` as above."""
        if beams not in ELEVATIONS:
            raise ConfigError(f"beams={beams!r}; there are scanners of 16, 32 and 64, others are Lidar(elevations)")
        low, high = ELEVATIONS[beams]
        step = (high - low) / (beams - 1)
        return cls(tuple(low + step * place for place in range(beams)), **parameters)  # type: ignore[arg-type]

    @property
    def shape(self) -> tuple[int, int]:
        """Return the numbers of beams and of shots of each beam."""
        width = self.azimuths[1] - self.azimuths[0]
        return len(self.elevations), max(1, math.ceil(width / self.azimuth_step - 1e-9))

    def directions(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return the unit vectors (R, 3) of all rays, beam by beam."""
        elevation = torch.tensor(self.elevations, dtype=torch.float64).deg2rad()[:, None]
        azimuth = (self.azimuths[0] + self.azimuth_step * torch.arange(self.shape[1], dtype=torch.float64)).deg2rad()
        flat = elevation.cos()
        parts = (flat * azimuth.cos(), flat * azimuth.sin(), elevation.sin().expand(self.shape))
        return torch.stack(parts, dim=2).flatten(0, 1).to(dtype)

    def ground(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return the ranges (R,) at which rays meet flat ground; inf where they do not."""
        down = self.directions(torch.float64)[:, 2]
        return torch.where(down < 0, -self.height / down, torch.inf).to(dtype)

    def measure(self, ranges: Tensor, key: Key) -> tuple[Tensor, Tensor]:
        """Return ranges (B, R) with noise, and (B, R) bool: which of them the scanner returns; drawn from the key."""
        noisy = ranges + self.range_noise * key.normal("range", ranges.shape[1:], dtype=ranges.dtype)
        kept = key.uniform("drop-out", ranges.shape[1:], dtype=ranges.dtype) >= self.drop_out
        seen = (ranges >= self.min_range) & (ranges <= self.max_range) & kept
        return torch.where(seen, noisy.clamp(self.min_range, self.max_range), 0), seen

    def points(self, ranges: Tensor) -> Tensor:
        """Return the points (B, R, 3) at ranges (B, R); differentiable."""
        return ranges[:, :, None] * self.directions(ranges.dtype).to(ranges.device)
