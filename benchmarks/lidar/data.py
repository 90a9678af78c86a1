"""The clouds that the zoo's LiDAR models are trained and attacked on, all drawn from keys: which seed is which set."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sparring.lidar import Lidar
from sparring.lidar.nets import FOUND
from sparring.lidar.streets import CLASSES, Street, crops, draw_streets, scan
from sparring.random import Key

TRAINING, VALIDATION, HELD_OUT = 101, 102, 103  # seeds
CROP_SENSOR = Lidar(
    tuple(-20 + 26 / 31 * place for place in range(32)), azimuth_step=0.375, azimuths=(-24.0, 24.0), drop_out=0.05
)
STREET_SENSOR = Lidar.of_beams(64, azimuth_step=0.8, azimuths=(-45.0, 45.0), max_range=45.0, drop_out=0.05)
LEAST_POINTS = 10  # of an object that a detector is asked to find


def crop_set(seed: int, count: int, least: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    """Points (N, 192, 3), which are present, and classes of objects with that many points at least."""
    keys = torch.arange(count + count // 4)
    parts = [crops(Key(some, seed), CROP_SENSOR) for some in keys.split(100)]
    points, present, labels = (torch.cat(part) for part in zip(*parts, strict=True))
    kept = (present.sum(1) >= least).nonzero()[:count, 0]
    return points[kept], present[kept], labels[kept]


@dataclass(frozen=True)
class Scanned:
    """Streets, what each ray measured of them, and how many points of each object there are."""

    streets: Street
    ranges: Tensor  # (B, R), before noise; inf where a ray goes on
    points: Tensor  # (B, R, 3)
    present: Tensor  # (B, R) bool
    seen: Tensor  # (B, K) points of each object

    def wanted(self) -> Tensor:
        """(B, K) bool: objects of the detector's classes that can be seen."""
        kinds = torch.tensor([name in FOUND for name in CLASSES])
        return kinds[self.streets.kinds] & (self.seen >= LEAST_POINTS)


def street_set(seed: int, count: int, first: int = 0) -> Scanned:
    """So many streets of the seed, from the position `first` on."""
    parts = [_scanned(Key(some, seed)) for some in torch.arange(first, first + count).split(50)]
    streets = Street(
        *(torch.cat([getattr(part.streets, name) for part in parts]) for name in ("kinds", "sizes", "poses"))
    )
    rest = (torch.cat([getattr(part, name) for part in parts]) for name in ("ranges", "points", "present", "seen"))
    return Scanned(streets, *rest)


def _scanned(key: Key) -> Scanned:
    streets = draw_streets(key)
    ranges, owner = scan(streets, STREET_SENSOR)
    measured, present = STREET_SENSOR.measure(ranges, key)
    counts = torch.zeros(*streets.kinds.shape)
    counts.scatter_add_(1, owner.clamp_min(0), ((owner >= 0) & present).float())
    return Scanned(streets, ranges, STREET_SENSOR.points(measured), present, counts.long())
