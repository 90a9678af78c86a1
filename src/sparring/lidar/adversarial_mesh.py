"""An object in the scene whose shape the attacker chooses (Cao et al. 2019, arXiv:1907.05418; Tu et al. 2020).

built = MeshInScene.of(box(4), sensor, size=(1, 1, 1), max_metres=0.2)
scenes = OverScenes(Pipeline(detector, built), Vanish(boxes), LidarScene(ranges=ranges, poses=poses))
run(PGD(Linf(0.2)), scenes, FoolScenes(torch.zeros(1)), torch.zeros(1, len(built.vertices), 3))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..errors import ConfigError, InputError
from ..inputs import Inputs, PointClouds
from ..random import Key
from ..transforms import Transform, straight_through
from .meshes import Mesh, laplacian_weights
from .ray_casting import CHUNK, cast_soft
from .sensor import Lidar
from .streets import posed
from .variables import _check_above_zero


@dataclass(frozen=True)
class MeshInScene(Transform):
    """(B, V, 3) displacements in metres -> what the scanner sees of the scenes with the displaced mesh in them.

    Displacements are averaged over neighbours, so that the surface stays smooth, and never exceed their bound. The
    context has the `ranges` (B, R) of the scene without the mesh, and the `poses` (B, 3) that it is put at. The cloud
    has two points for each ray: where it meets the mesh, and where it would end without; at most one is present. Which
    one it is has the gradient of a mesh with a soft outline.

    Args:
        vertices, faces: (V, 3) in metres, standing on z = 0, and (F, 3) int64.
        averaging: (V, V) whose rows sum to 1: how displacements are averaged.
        sensor: the scanner.
        max_metres: the largest displacement along each axis, the range of the variable.
        sigma: of the outline, in radians.
        chunk: of the ray caster.
    """

    vertices: Tensor
    faces: Tensor
    averaging: Tensor
    sensor: Lidar
    max_metres: float = 0.2
    sigma: float = 0.005
    chunk: int = CHUNK

    def __post_init__(self) -> None:
        _check_above_zero("MeshInScene", max_metres=self.max_metres, sigma=self.sigma)

    @classmethod
    def of(
        cls,
        mesh: Mesh,
        sensor: Lidar,
        *,
        size: Sequence[float] = (1, 1, 1),
        max_metres: float = 0.2,
        smoothing: int = 2,
        sigma: float | None = None,
    ) -> MeshInScene:
        """Return the transform of a mesh scaled to `size` in metres.

        Args:
            smoothing: how often displacements are averaged with those of neighbours; 0: never.
            sigma: None: half the scanner's azimuth step.
        """
        if isinstance(smoothing, bool) or not isinstance(smoothing, int) or not 0 <= smoothing <= 100:
            raise ConfigError(f"smoothing={smoothing!r}; pass how often displacements are averaged, 0 to 100")
        averaging = torch.linalg.matrix_power(laplacian_weights(mesh), smoothing)
        width = torch.deg2rad(torch.tensor(sensor.azimuth_step / 2)).item() if sigma is None else sigma
        return cls(mesh.placed(size).vertices, mesh.faces, averaging, sensor, max_metres, width)

    @property
    def stochastic(self) -> bool:
        return self.sensor.range_noise > 0 or self.sensor.drop_out > 0

    @property
    def inputs(self) -> Inputs | None:
        return PointClouds(-self.max_metres, self.max_metres)

    def displaced(self, x: Tensor) -> Tensor:
        """Return the vertices (B, V, 3) of the meshes with displacements x, in metres, none below the ground."""
        moved = self.vertices.to(x) + torch.einsum("vw,bwc->bvc", self.averaging.to(x), x)
        return torch.cat((moved[..., :2], moved[..., 2:].clamp_min(0)), dim=2)

    def apply(self, x: Tensor, key: Key, context: Any) -> tuple[Tensor, Any]:
        if x.shape[1:] != self.vertices.shape:
            raise InputError(
                f"displacements are (N, {len(self.vertices)}, 3), one for each vertex; got {tuple(x.shape)}"
            )
        behind, poses = self._scene(x, context)
        body = posed(self.displaced(x), torch.ones_like(x[:, 0]), poses, self.sensor.height)
        seen = cast_soft(self.sensor.directions(x.dtype), body, self.faces, self.sigma, chunk=self.chunk)
        nearer = (seen.ranges < behind).detach()
        before, there = self.sensor.measure(torch.where(nearer, seen.ranges, torch.inf), key.reseeded(0))
        beyond, ground = self.sensor.measure(behind, key.reseeded(1))
        hard = torch.cat((there & seen.hit & nearer, ground & ~(seen.hit & nearer)), dim=1)
        cover = seen.coverage * nearer
        soft = torch.cat((there * cover, ground * (1 - cover)), dim=1)
        cloud = torch.cat((self.sensor.points(before), self.sensor.points(beyond)), dim=1)
        weights = straight_through(hard.to(x.dtype), soft)
        return cloud, replace(context, ranges=None, poses=None, present=hard, weights=weights)

    def _scene(self, x: Tensor, context: Any) -> tuple[Tensor, Tensor]:
        ranges, poses = getattr(context, "ranges", None), getattr(context, "poses", None)
        rays = self.sensor.shape[0] * self.sensor.shape[1]
        if not isinstance(ranges, Tensor) or not isinstance(poses, Tensor) or ranges.shape[1:] != (rays,):
            told = f"ranges {tuple(ranges.shape)}" if isinstance(ranges, Tensor) else "no ranges"
            raise InputError(
                f"{self.name} puts a mesh into scanned scenes: context=LidarScene(ranges=(N, {rays}), poses=(N, 3)); "
                f"got {told} and {'poses' if isinstance(poses, Tensor) else 'no poses'}"
            )
        return ranges.to(x.dtype), poses.to(x.dtype)
