"""Coordinates of a coarse grid over the image: their draws, and finite differences along them, for ZOO."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...access import Scores
from ...geometry.region import Region

CHUNK = 1 << 16  # numbers per row in one set of images: memory stays flat


def upsample(grid: Tensor, like: Tensor) -> Tensor:
    """Return cells (B, C, h, w) as the images (B, C, H, W) they cover; themselves where the shapes are equal."""
    return grid if grid.shape[2:] == like.shape[2:] else F.interpolate(grid, size=like.shape[2:], mode="nearest")


def grid_room(region: Region, images: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far each cell (B, C, h, w) can decrease and increase from x: the maximum over its pixels."""
    rooms = (region.room(sign * torch.ones_like(images)) for sign in (-1, 1))
    down, up = (room if room.shape == grid.shape else F.adaptive_max_pool2d(room, grid.shape[2:]) for room in rooms)
    return down, up


def draw_coordinates(oracle: Scores, movable: Tensor, count: int, t: int) -> Tensor:
    """Draw the coordinates (B, k) int64 of step t without replacement, until all movable ones have been used.

    Args:
        movable: (B, n) bool, the coordinates that can move.
        count: how many to return per row; k is less where there are fewer.
        t: the step.
    """
    total, most = movable.sum(1), movable.shape[1]
    sets = (total + count - 1).div(count, rounding_mode="floor").clamp_min(1)
    order = oracle.key.uniform("order", (most,), t // sets, torch.float64)
    order = order.masked_fill_(~movable, 2).argsort(dim=1, stable=True)
    start = torch.minimum(t % sets * count, (total - count).clamp_min(0))
    place = start[:, None] + torch.arange(min(count, most), device=total.device)
    return order.gather(1, torch.minimum(place, (total - 1).clamp_min(0)[:, None]))


def finite_differences(
    oracle: Scores, images: Tensor, margin: Tensor, grid: Tensor, coordinates: Tensor, rows: Tensor, h: float
) -> Tensor:
    """Return the slopes (Q, k) of the margin, each measured away from the nearer edge of the range: k queries a row.

    Args:
        images: (B, ...) where the slopes are measured.
        margin: (B,) there.
        grid: (B, C, h, w), whose shape is that of the grid.
        coordinates: (B, k) int64 flat positions in the grid.
        rows: (Q,) int64, the rows that are queried.
        h: the length of a difference, in units of the inputs.
    """
    region, chosen, base = oracle.region.take(rows), coordinates[rows], images[rows]
    size = max(1, CHUNK // images[0].numel())
    up, down = (region.room(sign * torch.ones_like(base), base).nan_to_num(posinf=1) for sign in (1, -1))
    slopes = []
    for start in range(0, chosen.shape[1], size):
        part = chosen[:, start : start + size]
        shape = (len(rows), part.shape[1])
        cell = grid.new_zeros(*shape, grid[0].numel()).scatter_(2, part[:, :, None], h)
        change = upsample(cell.view(-1, *grid.shape[1:]), images).view(*shape, *images.shape[1:])
        lean = ((down - up)[:, None] * change).flatten(2).sum(2)
        sign = torch.where(lean > 0, -1.0, 1.0).to(images.dtype)
        trial = region.clamp_many_(base[:, None] + change * sign.view(*sign.shape, *[1] * (images.ndim - 1)))
        answer = oracle.score(trial.flatten(0, 1), rows=rows.repeat_interleave(part.shape[1])).margin
        slopes.append((answer.view_as(part) - margin[rows, None]) * sign / h)
    return torch.cat(slopes, dim=1).nan_to_num(0.0, 0.0, 0.0)
