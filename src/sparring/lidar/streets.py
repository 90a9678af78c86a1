"""Synthetic streets: objects of parametric meshes on flat ground, as a scanner sees them.

They are simple bodies on a plane without trees, slopes, glass or rain: what is measured on them says something about
methods, and nothing about real traffic.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ConfigError
from ..random import Key
from . import meshes
from .ray_casting import cast
from .sensor import Lidar

CLASSES = ("car", "truck", "pedestrian", "pole", "wall")
MESHES = (meshes.car, meshes.truck, meshes.pedestrian, meshes.pole, meshes.wall)
SMALLEST = ((3.8, 1.6, 1.4), (5.5, 2.1, 2.7), (0.45, 0.45, 1.5), (0.1, 0.1, 2.5), (2.0, 0.2, 1.0))  # l, w, h in metres
LARGEST = ((4.8, 1.9, 1.7), (7.2, 2.5, 3.6), (0.7, 0.7, 1.95), (0.3, 0.3, 4.0), (6.5, 0.3, 2.6))
SHARES = (0.45, 0.1, 0.2, 0.15, 0.1)  # of the classes among the objects of a street
PITCH = 8.5, 6.0  # metres between places for objects, along x and y
FIELD = (4.0, 38.0), (-15.0, 15.0)  # where objects stand: x, y in metres


@dataclass(frozen=True)
class Street:
    """K objects in each of B scenes; a row-wise record.

    Args:
        kinds: (B, K) int64, places in `CLASSES`.
        sizes: (B, K, 3), length, width and height in metres.
        poses: (B, K, 3) as x, y in metres and yaw in radians.
    """

    kinds: Tensor
    sizes: Tensor
    poses: Tensor

    def footprints(self) -> Tensor:
        """Return (B, K, 4): the rectangles along the axes that hold each object, x1, y1, x2, y2 in metres."""
        return footprint(self.sizes, self.poses)


def footprint(sizes: Tensor, poses: Tensor) -> Tensor:
    """Return the rectangles (..., 4) along the axes that hold boxes of sizes (..., 3) at poses (..., 3)."""
    cos, sin = poses[..., 2].cos().abs(), poses[..., 2].sin().abs()
    length, width = sizes[..., 0], sizes[..., 1]
    half = torch.stack((length * cos + width * sin, length * sin + width * cos), dim=-1) / 2
    return torch.cat((poses[..., :2] - half, poses[..., :2] + half), dim=-1)


def drawn_sizes(kinds: Tensor, key: Key) -> Tensor:
    """Draw the sizes (B, K, 3) of objects of these kinds (B, K), uniform between the smallest and the largest."""
    low, high = torch.tensor(SMALLEST)[kinds], torch.tensor(LARGEST)[kinds]
    return low + (high - low) * key.uniform("size", (kinds.shape[1], 3))


def draw_streets(key: Key, objects: int = 9) -> Street:
    """Draw a street for each index of the key, of so many objects that do not touch.

    Objects stand in different cells of a grid before the scanner, along or across the street, long ones along it.
    """
    across, along = (int((high - low) / pitch) for (low, high), pitch in zip(FIELD, PITCH, strict=True))
    if isinstance(objects, bool) or not isinstance(objects, int) or not 1 <= objects <= across * along:
        raise ConfigError(f"objects={objects!r} in a street; pass 1 to {across * along}")
    kinds = torch.bucketize(key.uniform("kind", (objects,)), torch.tensor(SHARES).cumsum(0)[:-1], right=True)
    sizes = drawn_sizes(kinds, key)
    cell = key.uniform("cell", (across * along,)).argsort(dim=1)[:, :objects]
    centre = torch.stack((cell // along * PITCH[0] + PITCH[0] / 2, cell % along * PITCH[1] + PITCH[1] / 2), dim=2)
    turned = key.integers("turn", (objects,), 4)
    turned = torch.where((kinds == CLASSES.index("truck")) | (kinds == CLASSES.index("wall")), turned // 2 * 2, turned)
    yaw = turned * (torch.pi / 2) + 0.15 * key.normal("yaw", (objects,)).clamp(-2, 2)
    flat = torch.cat((torch.zeros(*kinds.shape, 2), yaw[:, :, None]), dim=2)
    rectangle = footprint(sizes, flat)
    room = (torch.tensor(PITCH) - (rectangle[..., 2:] - rectangle[..., :2])).clamp_min(0)
    shift = (key.uniform("place", (objects, 2)) - 0.5) * room
    start = torch.tensor([FIELD[0][0], FIELD[1][0]])
    return Street(kinds, sizes, torch.cat((start + centre + shift, yaw[:, :, None]), dim=2))


def posed(vertices: Tensor, sizes: Tensor, poses: Tensor, height: float) -> Tensor:
    """Return vertices (B, V, 3) of meshes of size 1, scaled, turned and put on the ground before the scanner.

    Args:
        vertices: (V, 3) or (B, V, 3), on z = 0.
        sizes: (B, 3) in metres.
        poses: (B, 3) as x, y and yaw.
        height: of the scanner above the ground.
    """
    body = vertices * sizes[:, None]
    cos, sin = poses[:, 2].cos()[:, None], poses[:, 2].sin()[:, None]
    x = body[..., 0] * cos - body[..., 1] * sin + poses[:, 0, None]
    y = body[..., 0] * sin + body[..., 1] * cos + poses[:, 1, None]
    return torch.stack((x, y, body[..., 2] - height), dim=2)


def scan(street: Street, sensor: Lidar) -> tuple[Tensor, Tensor]:
    """Return the ranges (B, R) at which rays end in the scenes, and what each hits (B, R) int64.

    That is the place of the object among the K, -1 for the ground, and -2 where the ray goes on (range inf).
    """
    rays, batch = sensor.directions(), len(street.kinds)
    ground = sensor.ground()
    ranges = ground.expand(batch, -1).clone()
    owner = torch.where(ground.isfinite(), -1, -2).expand(batch, -1).clone()
    for kind, make in enumerate(MESHES):
        rows, places = (street.kinds == kind).nonzero(as_tuple=True)
        if len(rows) == 0:
            continue
        mesh = make()
        bodies = posed(mesh.vertices, street.sizes[rows, places], street.poses[rows, places], sensor.height)
        theirs = cast(rays, bodies, mesh.faces).ranges
        nearest = ranges.scatter_reduce(0, rows[:, None].expand_as(theirs), theirs, "amin")
        wins = (theirs == nearest[rows]) & (theirs < ranges[rows])
        object_, ray = wins.nonzero(as_tuple=True)
        owner[rows[object_], ray] = places[object_]
        ranges = nearest
    return ranges, owner


def crops(key: Key, sensor: Lidar, points: int = 192) -> tuple[Tensor, Tensor, Tensor]:
    """Draw single objects, scanned at 6 to 14 m, one for each index of the key, the classes in turn by the index.

    Returns: points (B, points, 3) in metres, less the mean of x and y; which of them are present (B, points) bool (at
    most so many of the object's points, drawn from them); and the classes (B,) int64.
    """
    kinds = (key.indices % len(CLASSES))[:, None]
    sizes = drawn_sizes(kinds, key)
    place = key.uniform("place", (3,)) * torch.tensor([8.0, 2.0, 2 * torch.pi]) + torch.tensor([6.0, -1.0, 0.0])
    ranges, owner = scan(Street(kinds, sizes, place[:, None]), sensor)
    measured, seen = sensor.measure(ranges, key)
    cloud, mine = sensor.points(measured), seen & (owner == 0)
    order = key.uniform("choice", (cloud.shape[1],)).masked_fill(~mine, 2).argsort(dim=1)[:, :points]
    present = mine.gather(1, order)
    cloud = cloud.gather(1, order[:, :, None].expand(-1, -1, 3))
    middle = (cloud * present[:, :, None]).sum(1, keepdim=True) / present.sum(1).clamp_min(1)[:, None, None]
    centred = (cloud - middle * torch.tensor([1, 1, 0])) * present[:, :, None]
    return centred, present, kinds[:, 0]
