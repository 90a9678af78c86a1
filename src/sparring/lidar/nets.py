"""Two small networks of point clouds: a PointNet for crops of objects, and a detector in bird's-eye view.

PointNet (Qi et al. 2017, arXiv:1612.00593) without its learned rotations: one network for every point, and a maximum
over them. The detector is made in the manner of PIXOR (Yang et al. 2018, arXiv:1902.06326): points are spread over
cells of height, a convolutional network answers for each square metre of the ground.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ..tasks import Detections
from .scene import point_weights

BINS, LOWEST, HIGHEST = 8, -1.8, 1.8  # heights of cells in metres, from the scanner
CELL = 0.5  # metres
ROWS, COLUMNS = 80, 64  # cells ahead, and from right to left
LEFTMOST = -16.0  # metres: the least y of the grid
STRIDE = 2  # cells of an anchor, along each side
FOUND = ("car", "truck", "pedestrian")  # the classes of the detector


class PointNet(nn.Module):
    """Logits (B, K) of clouds (B, N, 3) in metres; points that are absent have no part in them."""

    def __init__(self, classes: int = 5, width: int = 32) -> None:
        super().__init__()
        sizes = (3, width, 2 * width, 4 * width)
        layers = [[nn.Linear(a, b), nn.ReLU()] for a, b in pairwise(sizes)]
        self.points = nn.Sequential(*(layer for pair in layers for layer in pair))
        self.head = nn.Sequential(nn.Linear(4 * width, 2 * width), nn.ReLU(), nn.Linear(2 * width, classes))

    def forward(self, points: Tensor, context: Any = None) -> Tensor:
        features = self.points(points / 2) * point_weights(points, context)[:, :, None]
        logits: Tensor = self.head(features.amax(1))
        return logits


def soft_voxels(points: Tensor, weights: Tensor) -> Tensor:
    """Return how full the cells are (B, BINS, ROWS, COLUMNS), in [0, 1), of clouds (B, N, 3) with weights (B, N).

    Each point is shared between the eight cells around it, by its distance to their centres, and c points fill a cell
    by c / (1 + c): both have a gradient to the points and to their weights. Points outside of the grid count for none.
    """
    step = (HIGHEST - LOWEST) / (BINS - 1)
    place = torch.stack(
        (
            (points[..., 2] - LOWEST) / step,
            points[..., 0] / CELL - 0.5,
            (points[..., 1] - LEFTMOST) / CELL - 0.5,
        ),
        dim=-1,
    )
    sizes = (BINS, ROWS, COLUMNS)
    low = place.detach().floor()
    share = place - low
    low = low.long()
    cells = points.new_zeros(len(points), BINS * ROWS * COLUMNS)
    for corner in range(8):
        part, index, inside = weights, torch.zeros_like(low[..., 0]), torch.ones_like(low[..., 0], dtype=torch.bool)
        for axis, size in enumerate(sizes):
            far = corner >> axis & 1
            at = low[..., axis] + far
            part = part * (share[..., axis] if far else 1 - share[..., axis])
            inside = inside & (at >= 0) & (at < size)
            index = index * size + at.clamp(0, size - 1)
        cells = cells.scatter_add(1, index, part * inside)
    return (cells / (1 + cells)).view(-1, *sizes)


class BevDetector(nn.Module):
    """`Detections` of clouds (B, N, 3) in metres, as the scanner sees them: x ahead, y to the left, z up.

    Boxes are x1, y1, x2, y2 in metres, seen from above, and the classes are `FOUND`. There is an anchor for each square
    metre of x in [0, 40] and y in [-16, 16].
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            *(nn.Conv2d(BINS, width // 2, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(width // 2, width, 3, stride=STRIDE, padding=1), nn.ReLU()),
            *(nn.Conv2d(width, width, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(width, width, 3, padding=2, dilation=2), nn.ReLU()),
            *(nn.Conv2d(width, width, 3, padding=2, dilation=2), nn.ReLU()),
        )
        self.head = nn.Conv2d(width, len(FOUND) + 4, 1)

    def forward(self, points: Tensor, context: Any = None) -> Detections:
        return self.answer(soft_voxels(points, point_weights(points, context)))

    def answer(self, voxels: Tensor) -> Detections:
        """Return the detections of grids (B, BINS, ROWS, COLUMNS)."""
        numbers = self.head(self.trunk(voxels)).flatten(2).transpose(1, 2)
        logits, middle, size = numbers.split((len(FOUND), 2, 2), dim=2)
        centre = anchor_centres().to(numbers) + 2 * middle.tanh()
        half = size.clamp(-3, 3).exp()
        present = torch.ones(numbers.shape[:2], dtype=torch.bool, device=numbers.device)
        return Detections(torch.cat((centre - half, centre + half), dim=2), logits, present)


def anchor_centres() -> Tensor:
    """Return (A, 2): x and y in metres of the anchors, in the order of the detector's answers."""
    side = CELL * STRIDE
    x = (torch.arange(ROWS // STRIDE) + 0.5) * side
    y = (torch.arange(COLUMNS // STRIDE) + 0.5) * side + LEFTMOST
    return torch.stack(torch.meshgrid(x, y, indexing="ij"), dim=2).flatten(0, 1)
