"""The nearest linearised decision boundary, towards which DeepFool, SuperDeepFool and FAB step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...access.oracle import Jacobian
from ...geometry import tiny
from ...geometry.region import Region


@dataclass(frozen=True)
class LinearBoundary:
    """The boundary {z: value + <grad, z - x> = 0} of each row, linearised at an image x."""

    value: Tensor  # (B,) logit of the nearest class minus that of the label
    grad: Tensor  # (B, ...) its gradient
    margin: Tensor  # (B,) of the goal: above 0 where the row has succeeded


def nearest_boundary(region: Region, answer: Jacobian) -> tuple[LinearBoundary, Tensor]:
    """Return the boundary that is nearest in the region's norm, among those of the answer, and its distance (B,)."""
    lengths = region.dual_norm_many(answer.grads).clamp_min(tiny(answer.grads))
    distances = (answer.margins.to(lengths.dtype).abs() / lengths).nan_to_num(nan=torch.inf)
    distance, nearest = distances.min(dim=1)
    row = torch.arange(len(nearest), device=nearest.device)
    return LinearBoundary(answer.margins[row, nearest], answer.grads[row, nearest], answer.verdict.margin), distance
