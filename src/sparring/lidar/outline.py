"""The outline of a mesh in the view of a sensor at the origin, and how far rays pass from it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

PROBE = 1e-3  # of an edge's distance: how far outside of its middle nothing may be hit


def edges_of(faces: Tensor) -> tuple[Tensor, Tensor]:
    """Return each edge (E, 2) int64 of the triangles once, and the faces (E, 2) int64 beside it.

    An edge of a single face has it twice; of more than two faces the first and the last count.
    """
    sides = torch.cat((faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]])).sort(dim=1).values
    edges, place = torch.unique(sides, dim=0, return_inverse=True)
    owner = torch.arange(len(faces), device=faces.device).repeat(3)
    first = torch.full((len(edges),), len(faces), device=faces.device).scatter_reduce_(0, place, owner, "amin")
    last = torch.full((len(edges),), -1, device=faces.device).scatter_reduce_(0, place, owner, "amax")
    return edges, torch.stack((first, last), dim=1)


def outline_of(vertices: Tensor, faces: Tensor, hits: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Return the edges (E, 2) int64 of the mesh, and (B, E) bool: which of them are the outline of meshes (B, V, 3).

    Args:
        hits: tells (B, P) of directions (B, P, 3) whether they hit the mesh of their row.
    """
    edges, beside = edges_of(faces)
    corners = vertices[:, faces]
    normal = (corners[:, :, 1] - corners[:, :, 0]).cross(corners[:, :, 2] - corners[:, :, 0], dim=2)
    towards = (corners.sum(2) * normal).sum(2) < 0  # (B, F): does the face show its front?
    one, other = towards[:, beside[:, 0]], towards[:, beside[:, 1]]
    contour = (one != other) | (beside[:, 0] == beside[:, 1])
    ends = vertices[:, edges]
    middle, along = ends.mean(2), ends[:, :, 1] - ends[:, :, 0]
    own = corners.mean(2)[:, beside[:, 0]]
    outward = torch.nn.functional.normalize(middle.cross(along, dim=2), dim=2)
    outward = outward * -((own - middle) * outward).sum(2, keepdim=True).sign()  # away from a face beside it
    step = PROBE * middle.norm(dim=2, keepdim=True) * outward
    return edges, contour & ~hits(torch.nn.functional.normalize(middle + step, dim=2))


class Outline:
    """How rays pass edges, in the plane that is perpendicular to the ray at distance 1 (the gnomonic projection)."""

    @staticmethod
    def gap(directions: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Return the angle from rays (Q, 3) to edges from `first` to `second` (Q, 3), and the depth of that point.

        The angle is in radians; the depth is the distance of that point along the ray.
        """
        depths = [(directions * end).sum(-1, keepdim=True) for end in (first, second)]
        start, end = (one / depth - directions for one, depth in zip((first, second), depths, strict=True))
        way = end - start
        share = (-(start * way).sum(-1, keepdim=True) / way.square().sum(-1, keepdim=True).clamp_min(1e-30)).clamp(0, 1)
        off = (start + share * way).square().sum(-1).clamp_min(1e-24).sqrt()
        depth = 1 / ((1 - share) / depths[0] + share / depths[1])
        return off.atan(), depth.squeeze(-1)


def nearest_outline(
    directions: Tensor, vertices: Tensor, edges: tuple[Tensor, Tensor], reach: float, chunk: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the nearest edge of the outline for each ray that passes within `reach` radians of one.

    Returns: rows (Q,), rays (Q,), and the vertices (Q,) at both ends of the edge, all int64.
    """
    every, outer = edges
    rows, which = outer.nonzero(as_tuple=True)
    rays, found = len(directions), []
    best = vertices.new_full((len(vertices) * rays,), torch.inf)
    for begin in range(0, len(rows), wide := max(1, chunk // max(1, rays))):
        row, edge = rows[begin : begin + wide], every[which[begin : begin + wide]]
        first, second = vertices[row, edge[:, 0]], vertices[row, edge[:, 1]]
        middle = torch.nn.functional.normalize((first + second), dim=1)
        spread = torch.stack([(torch.nn.functional.normalize(end, dim=1) * middle).sum(1) for end in (first, second)])
        limit = (spread.amin(0).clamp(-1, 1).acos() + reach).clamp(max=1.5).cos() - 1e-6
        pair, ray = (middle @ directions.T >= limit[:, None]).nonzero(as_tuple=True)
        angle, depth = Outline.gap(directions[ray], first[pair], second[pair])
        near = (angle < reach) & (depth > 0)
        pair, ray, angle = pair[near], ray[near], angle[near]
        cell = row[pair] * rays + ray
        best.scatter_reduce_(0, cell, angle, "amin")
        found.append((cell, angle, begin + pair))
    chosen = torch.full((len(best),), -1, device=vertices.device)
    for cell, angle, place in found:
        chosen.scatter_reduce_(0, cell, torch.where(angle == best[cell], place, -1), "amax")
    cells = (chosen >= 0).nonzero()[:, 0]
    ends = every[which[chosen[cells]]]
    return cells // rays, cells % rays, ends[:, 0], ends[:, 1]
