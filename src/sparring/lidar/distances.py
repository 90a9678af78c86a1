"""Distances between clouds that do not ask which point became which."""

from __future__ import annotations

from enum import Enum

import torch
from torch import Tensor

LARGE = 1e9  # squared metres, of a point that is not there


def _squares(one: Tensor, other: Tensor, present: Tensor | None) -> Tensor:
    """Return squared distances (B, N, N) between points; large for those that are absent."""
    gaps: Tensor = (one[:, :, None] - other[:, None]).square().sum(3)
    return gaps if present is None else gaps.masked_fill(~present[:, None], LARGE)


def _nearest(cloud: Tensor, original: Tensor, present: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    gaps = _squares(cloud, original, present)
    back = gaps if present is None else _squares(original, cloud, present).transpose(1, 2)
    counted = torch.ones_like(cloud[..., 0]) if present is None else present.to(cloud.dtype)
    return gaps.amin(2), back.amin(1), counted


def chamfer(cloud: Tensor, original: Tensor, present: Tensor | None = None) -> Tensor:
    """Return the Chamfer distances (B,) in squared metres, of clouds (B, N, 3).

        mean_p min_q |p - q|^2 + mean_q min_p |p - q|^2

    p are the points of the cloud, q those of the original; `present` (B, N) bool are those that count in both.
    """
    there, back, counted = _nearest(cloud, original, present)
    return ((there + back) * counted).sum(1) / counted.sum(1).clamp_min(1)


def hausdorff(cloud: Tensor, original: Tensor, present: Tensor | None = None) -> Tensor:
    """Return the Hausdorff distances (B,) in squared metres of clouds (B, N, 3): the larger of both ways.

    max( max_p min_q |p - q|^2, max_q min_p |p - q|^2 )
    """
    there, back, counted = _nearest(cloud, original, present)
    return (torch.maximum(there, back) * counted).amax(1)


class PointDistance(Enum):
    """A distance between clouds."""

    CHAMFER = "chamfer"
    HAUSDORFF = "hausdorff"

    def between(self, cloud: Tensor, original: Tensor, present: Tensor | None = None) -> Tensor:
        """Return the distances (B,) of clouds (B, N, 3)."""
        return (chamfer if self is PointDistance.CHAMFER else hausdorff)(cloud, original, present)
