"""Triangle meshes of simple bodies: boxes, cylinders, spheres, and the objects of a street made of them.

Faces are counter-clockwise seen from outside, so that normals point outwards. Units are metres, z points up and objects
stand on z = 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ConfigError


@dataclass(frozen=True)
class Mesh:
    """Vertices (V, 3) float in metres and faces (F, 3) int64, the corners of triangles."""

    vertices: Tensor
    faces: Tensor

    def placed(self, scale: Sequence[float] = (1, 1, 1), shift: Sequence[float] = (0, 0, 0)) -> Mesh:
        """Return the mesh scaled along x, y and z, and then shifted."""
        scaled = self.vertices * torch.tensor(scale, dtype=self.vertices.dtype)
        return Mesh(scaled + torch.tensor(shift, dtype=self.vertices.dtype), self.faces)


def joined(*meshes: Mesh) -> Mesh:
    """Return several meshes as one, which has the parts that lie within others too."""
    starts = torch.tensor([0, *(len(one.vertices) for one in meshes)]).cumsum(0)
    faces = [one.faces + start for one, start in zip(meshes, starts.tolist(), strict=False)]
    return Mesh(torch.cat([one.vertices for one in meshes]), torch.cat(faces))


def box(subdivisions: int = 1) -> Mesh:
    """Return a box of side 1 that stands on z = 0 in the middle, each side of n x n squares of two triangles."""
    n = _at_least("subdivisions", subdivisions, 1)
    steps = torch.linspace(-0.5, 0.5, n + 1)
    grid = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), dim=2).flatten(0, 1)
    corner = (torch.arange(n)[:, None] * (n + 1) + torch.arange(n)).flatten()
    square = torch.stack((corner, corner + n + 1, corner + n + 2, corner, corner + n + 2, corner + 1), dim=1)
    faces = square.view(-1, 3)
    vertices: list[Tensor] = []
    sides: list[Tensor] = []
    for axis in range(3):
        for end in (-0.5, 0.5):
            side = torch.empty(len(grid), 3)
            side[:, axis], side[:, (axis + 1) % 3], side[:, (axis + 2) % 3] = end, grid[:, 0], grid[:, 1]
            sides.append((faces if end > 0 else faces.flip(1)) + len(grid) * len(vertices))
            vertices.append(side)
    merged, place = torch.unique(torch.cat(vertices), dim=0, return_inverse=True)
    return Mesh(merged + torch.tensor([0, 0, 0.5]), place[torch.cat(sides)])


def cylinder(sides: int = 8) -> Mesh:
    """Return an upright cylinder of diameter 1 and height 1 on z = 0, of so many sides."""
    n = _at_least("sides", sides, 3)
    angle = torch.arange(n) * (2 * math.pi / n)
    ring = torch.stack((angle.cos() / 2, angle.sin() / 2), dim=1)
    low, high = (torch.cat((ring, torch.full((n, 1), z)), dim=1) for z in (0.0, 1.0))
    vertices = torch.cat((low, high, torch.tensor([[0, 0, 0], [0, 0, 1.0]])))
    here, after = torch.arange(n), (torch.arange(n) + 1) % n
    bottom, top = torch.full((n,), 2 * n), torch.full((n,), 2 * n + 1)
    parts = ((here, after, after + n), (here, after + n, here + n), (after, here, bottom), (here + n, after + n, top))
    return Mesh(vertices, torch.cat([torch.stack(part, dim=1) for part in parts]))


def icosphere(subdivisions: int = 2) -> Mesh:
    """Return a sphere of radius 1 around the origin: an icosahedron with each face divided by four so many times."""
    n, golden = _at_least("subdivisions", subdivisions, 0), (1 + math.sqrt(5)) / 2
    pairs = [(a, b) for a in (-1.0, 1.0) for b in (-golden, golden)]
    corners = [(0, a, b) for a, b in pairs] + [(a, b, 0) for a, b in pairs] + [(b, 0, a) for a, b in pairs]
    vertices = torch.nn.functional.normalize(torch.tensor(corners, dtype=torch.float64), dim=1)
    near = torch.cdist(vertices, vertices) < 1.1  # an edge is 1.05 long
    triples = torch.combinations(torch.arange(12), 3)
    a, b, c = triples.unbind(1)
    faces = triples[near[a, b] & near[b, c] & near[a, c]]
    a, b, c = vertices[faces].unbind(1)
    faces = torch.where(((b - a).cross(c - a, dim=1) * a).sum(1, keepdim=True) > 0, faces, faces.flip(1))
    for _ in range(n):
        vertices, faces = _divided(vertices, faces)
        vertices = torch.nn.functional.normalize(vertices, dim=1)
    return Mesh(vertices.float(), faces)


def subdivided(mesh: Mesh) -> Mesh:
    """Return the mesh with each face divided into four of the same plane."""
    return Mesh(*_divided(mesh.vertices, mesh.faces))


def _divided(vertices: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
    sides = torch.cat((faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]))
    edges, place = torch.unique(sides.sort(dim=1).values, dim=0, return_inverse=True)
    middle = (place + len(vertices)).view(3, -1)
    a, b, c = faces.unbind(1)
    ab, bc, ca = middle
    new = torch.stack((a, ab, ca, ab, b, bc, ca, bc, c, ab, bc, ca), dim=1).view(-1, 3)
    return torch.cat((vertices, vertices[edges].mean(1))), new


def car() -> Mesh:
    """Return a car of 1 x 1 x 1: a body, and a cabin on it, along x."""
    return joined(box().placed((1, 1, 0.55), (0, 0, 0.12)), box().placed((0.5, 0.88, 0.4), (-0.05, 0, 0.6)))


def truck() -> Mesh:
    """Return a truck of 1 x 1 x 1: a load, and a lower cabin before it, along x."""
    return joined(box().placed((0.75, 1, 0.9), (-0.125, 0, 0.1)), box().placed((0.22, 0.95, 0.65), (0.39, 0, 0.1)))


def pedestrian() -> Mesh:
    """Return a person of 1 x 1 x 1: a body and a head."""
    return joined(cylinder(8).placed((1, 1, 0.84)), cylinder(6).placed((0.45, 0.45, 0.15), (0, 0, 0.85)))


def pole() -> Mesh:
    """Return a pole of diameter 1 and height 1."""
    return cylinder(6)


def wall() -> Mesh:
    """Return a wall of 1 x 1 x 1."""
    return box()


def laplacian_weights(mesh: Mesh) -> Tensor:
    """Return (V, V): the share of each neighbour in the mean of a vertex and its neighbours along edges.

    Rows sum to 1, so that displacements within a bound stay within it when they are averaged.
    """
    count = len(mesh.vertices)
    weights = torch.eye(count)
    for one, other in ((0, 1), (1, 2), (2, 0)):
        weights[mesh.faces[:, one], mesh.faces[:, other]] = 1
        weights[mesh.faces[:, other], mesh.faces[:, one]] = 1
    return weights / weights.sum(1, keepdim=True)


def _at_least(word: str, value: int, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= 256:
        raise ConfigError(f"{word}={value!r}; pass a whole number from {least} to 256")
    return value
