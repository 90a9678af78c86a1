"""Rays from a sensor at the origin against triangle meshes (Moller & Trumbore 1997), with gradients to the vertices.

    t = v0 . n / d . n,   u = d . (e2 x v0) / d . n,   v = d . (v0 x e1) / d . n,   n = e1 x e2

e1 and e2 are the edges of a face at its corner v0, d is a ray's unit direction; it is hit at distance t where u, v and
1 - u - v are at or above 0. The search keeps no graph and works through (ray, face) pairs in chunks; then t is computed
again, differentiably, of the one face that each ray hits. So memory is that of a chunk, of the rays and of what they
hit, not of rays times faces, in the backward pass too.

What is hit or missed has no gradient of its own: `cast_soft` blurs the outline of the mesh.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import ConfigError, InputError
from .outline import Outline, nearest_outline, outline_of

Directions = Float[Tensor, "rays 3"]
Vertices = Float[Tensor, "batch vertices 3"]
Faces = Int[Tensor, "faces 3"]

CHUNK = 1 << 20  # (ray, face) pairs that are looked at together
BLOCK = 32  # consecutive faces that are culled together, by the sphere around them
LEAST_SLOPE = 1e-12  # |d . n| of a ray that runs along a face, in squared metres
REACH = 8.0  # standard deviations from the outline, beyond which the coverage is 0 or 1 to 4e-4


@dataclass(frozen=True)
class Hits:
    """What R rays hit of B meshes.

    Args:
        ranges: (B, R) distances in the unit of the vertices; inf where nothing is hit. Differentiable.
        faces: (B, R) int64, the face that is hit; -1 where none is.
    """

    ranges: Tensor
    faces: Tensor

    @property
    def hit(self) -> Tensor:
        """Return (B, R) bool: does the ray hit?"""
        return self.faces >= 0


@dataclass(frozen=True)
class SoftHits:
    """What R rays hit of B meshes whose outline is blurred.

    Args:
        ranges: (B, R); of a ray that passes near the outline, how far the outline is; inf elsewhere.
        coverage: (B, R) in [0, 1]: 1 inside the outline and 0 outside, 0.5 on it.
        hit: (B, R) bool, of the mesh as it is.
    """

    ranges: Tensor
    coverage: Tensor
    hit: Tensor


def cast(directions: Directions, vertices: Vertices, faces: Faces, *, chunk: int = CHUNK) -> Hits:
    """Return the nearest hit of each ray on each of B meshes that share their faces.

    Args:
        directions: (R, 3) unit vectors from the sensor, which is the origin.
        vertices: (B, V, 3) of each mesh, as seen from the sensor.
        faces: (F, 3) int64, the corners of each triangle; seen from both sides.
        chunk: (ray, face) pairs that are looked at together: memory is about 80 bytes times that in float32, plus
            what is kept of each ray and each hit.

    Raises: InputError for shapes that do not fit, ConfigError for a chunk below 1.
    """
    _check(directions, vertices, faces, chunk)
    faces = faces.to(vertices.device)
    with torch.no_grad():
        nearest = _search(directions.to(vertices), vertices.detach(), faces, chunk)
    rows, rays = (nearest >= 0).nonzero(as_tuple=True)
    corners = vertices[rows[:, None], faces[nearest[rows, rays]]]
    ranges = vertices.new_full(nearest.shape, torch.inf)
    return Hits(ranges.index_put((rows, rays), _distance(directions.to(vertices)[rays], corners)), nearest)


def cast_soft(
    directions: Directions, vertices: Vertices, faces: Faces, sigma: float, *, chunk: int = CHUNK
) -> SoftHits:
    """Return hits whose coverage falls from 1 to 0 across the outline, so that hit and miss have a gradient too.

        coverage = sigmoid(s * angle / sigma)

    `angle` is that between the ray and the nearest edge of the mesh's outline in the view of the sensor, s is 1 for
    rays that hit and -1 for those that miss. As sigma goes to 0 the coverage becomes that of `cast`. An edge belongs to
    the outline if one of its faces looks towards the sensor and none other does, and just outside of its middle
    nothing is hit: contours inside the picture of the mesh are none.

    Args:
        sigma: in radians; about half the angle between two rays of the sensor is enough to be felt by one of them.

    Raises: as `cast`, and ConfigError for a sigma that is not above 0.
    """
    if not isinstance(sigma, int | float) or not 0 < sigma < 1:
        raise ConfigError(f"sigma={sigma!r}; pass an angle in radians, above 0 and below 1")
    hard = cast(directions, vertices, faces, chunk=chunk)
    directions, faces = directions.to(vertices), faces.to(vertices.device)
    with torch.no_grad():
        still = vertices.detach()
        edges = outline_of(still, faces, lambda probes: _search(probes, still, faces, chunk) >= 0)
        near = nearest_outline(directions, still, edges, REACH * sigma, chunk)
    coverage, ranges = hard.hit.to(vertices), hard.ranges
    rows, rays, first, second = near
    angle, depth = Outline.gap(directions[rays], vertices[rows, first], vertices[rows, second])
    inside = hard.hit[rows, rays]
    signed = torch.where(inside, angle, -angle)
    coverage = coverage.index_put((rows, rays), (signed / sigma).sigmoid())
    ranges = ranges.index_put((rows, rays), torch.where(inside, ranges[rows, rays], depth))
    return SoftHits(ranges, coverage, hard.hit)


def _check(directions: Tensor, vertices: Tensor, faces: Tensor, chunk: int) -> None:
    """Raise where shapes do not fit together."""
    if directions.ndim != 2 or directions.shape[1] != 3 or vertices.ndim != 3 or vertices.shape[2] != 3:
        got = f"directions {tuple(directions.shape)} and vertices {tuple(vertices.shape)}"
        raise InputError(f"rays are cast along directions (R, 3) at vertices (B, V, 3); got {got}")
    if faces.ndim != 2 or faces.shape[1] != 3 or faces.dtype != torch.int64:
        raise InputError(f"faces are int64 (F, 3), the corners of triangles; got {faces.dtype} {tuple(faces.shape)}")
    if len(faces) and not 0 <= int(faces.min()) <= int(faces.max()) < vertices.shape[1]:
        raise InputError(f"faces name vertices {int(faces.min())} to {int(faces.max())} of {vertices.shape[1]}")
    if isinstance(chunk, bool) or not isinstance(chunk, int) or chunk < 1:
        raise ConfigError(f"chunk={chunk!r}; pass how many pairs of a ray and a face are looked at together, >= 1")


def _search(directions: Tensor, vertices: Tensor, faces: Tensor, chunk: int) -> Tensor:
    """Return the nearest face (B, R) int64 of each ray, -1 where none is hit; directions (R, 3) or (B, R, 3)."""
    batch, count, rays = len(vertices), len(faces), directions.shape[-2]
    if count == 0 or rays == 0 or batch == 0:
        return torch.full((batch, rays), -1, device=vertices.device)
    block = min(BLOCK, count, chunk)
    blocks = -(-count // block)
    order = torch.arange(blocks * block, device=vertices.device).clamp(max=count - 1)  # the last face fills up
    corners = vertices[:, faces[order]].view(batch * blocks, block, 3, 3)
    centre = corners.flatten(1, 2).mean(1)
    radius = (corners - centre[:, None, None]).square().sum(3).amax((1, 2)).sqrt() * (1 + 1e-5)
    planes, shared = _planes(corners), directions.ndim == 2
    best = vertices.new_full((batch * rays,), torch.inf)
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for first in range(0, batch * blocks, step := max(1, chunk // rays)):
        some = slice(first, first + step)
        theirs = directions if shared else directions[torch.arange(batch * blocks, device=best.device)[some] // blocks]
        groups, hit_rays = _near(theirs, centre[some], radius[some])
        groups = groups + first
        for begin in range(0, len(groups), wide := max(1, chunk // block)):
            of, ray = groups[begin : begin + wide], hit_rays[begin : begin + wide]
            pair, place, t = _intersect(directions[ray] if shared else directions[of // blocks, ray], planes[of])
            of, ray = of[pair], ray[pair]
            cell = of // blocks * rays + ray
            best.scatter_reduce_(0, cell, t, "amin")
            found.append((cell, t, (of % blocks * block + place).clamp(max=count - 1)))
    face = torch.full((batch * rays,), -1, device=vertices.device)
    for cell, t, which in found:
        face.scatter_reduce_(0, cell, torch.where(t == best[cell], which, -1), "amax")
    return face.view(batch, rays)


def _planes(corners: Tensor) -> Tensor:
    """Return (G, block, 3, 4): of each face e2 x v0, v0 x e1 and n = e1 x e2, and in the last column v0 . n."""
    start, e1, e2 = corners[:, :, 0], corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0]
    normal = e1.cross(e2, dim=2)
    stacked = torch.stack((e2.cross(start, dim=2), start.cross(e1, dim=2), normal), dim=2)
    height = (start * normal).sum(2)[:, :, None, None].expand(-1, -1, 3, 1)
    return torch.cat((stacked, height), dim=3)


def _near(directions: Tensor, centre: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pairs of a group of faces and a ray that enters the sphere around them: two lists of indices."""
    along = centre @ directions.T if directions.ndim == 2 else (directions @ centre[:, :, None]).squeeze(2)  # (G, R)
    off = centre.square().sum(1)[:, None] - along.square()
    slack = 1e-5 * centre.square().sum(1)[:, None]  # rounding of the difference
    groups, rays = ((off <= radius.square()[:, None] + slack) & (along + radius[:, None] > 0)).nonzero(as_tuple=True)
    return groups, rays


def _intersect(directions: Tensor, planes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the hits among rays (P, 3) and their groups of faces (P, block, 3, 4): pair, place in the group, t."""
    u, v, slope = torch.einsum("pc,pbkc->kpb", directions, planes[..., :3])
    height = planes[..., 2, 3]
    sign = slope.sign()
    u, v, size, t = u * sign, v * sign, slope.abs(), height * sign
    pair, place = ((size > LEAST_SLOPE) & (u >= 0) & (v >= 0) & (u + v <= size) & (t > 0)).nonzero(as_tuple=True)
    return pair, place, t[pair, place] / size[pair, place]


def _distance(directions: Tensor, corners: Tensor) -> Tensor:
    """Return the distances (Q,) at which rays (Q, 3) meet the planes of triangles (Q, 3, 3)."""
    start = corners[:, 0]
    normal = (corners[:, 1] - start).cross(corners[:, 2] - start, dim=1)
    return (start * normal).sum(1) / (directions * normal).sum(1)
