"""Boxes x1, y1, x2, y2: overlaps, conversions, and non-maximum suppression.

Suppression is greedy: the surest box is kept, and every other of its class that overlaps it by more than a threshold is
dropped; then the surest of the rest. All images of a batch are treated together, as a fixed point: a box stays where no
surer box that stays overlaps it. The iteration reaches the greedy result in as many rounds as the longest chain of
boxes that suppress one another (Zheng et al. 2020, arXiv:2005.03572, section 4.2).
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor

PAIRS = 2**23  # of boxes that are compared at once, so that memory is bounded
ManyBoxes = Float[Tensor, "*batch many 4"]
OtherBoxes = Float[Tensor, "*batch others 4"]
Overlaps = Float[Tensor, "*batch many others"]
BoxScores = Float[Tensor, "batch many"]
BoxClasses = Integer[Tensor, "batch many"]
BoxFlags = Bool[Tensor, "batch many"]


def box_areas(boxes: Tensor) -> Tensor:
    """Return the areas (...) of boxes (..., 4); 0 where a box is turned inside out."""
    width, height = (boxes[..., 2:] - boxes[..., :2]).clamp_min(0).unbind(-1)
    return width * height


def box_iou(boxes: ManyBoxes, others: OtherBoxes) -> Overlaps:
    """Return the intersection over union (..., N, M) of boxes (..., N, 4) with boxes (..., M, 4)."""
    low = torch.maximum(boxes[..., :, None, :2], others[..., None, :, :2])
    high = torch.minimum(boxes[..., :, None, 2:], others[..., None, :, 2:])
    width, height = (high - low).clamp_min(0).unbind(-1)
    shared = width * height
    union = box_areas(boxes)[..., :, None] + box_areas(others)[..., None, :] - shared
    return shared / union.clamp_min(torch.finfo(boxes.dtype).tiny)


def corners_of(centers: Tensor) -> Tensor:
    """Return boxes (..., 4) as corners of boxes given as middle x, middle y, width, height."""
    middle, half = centers[..., :2], centers[..., 2:] / 2
    return torch.cat((middle - half, middle + half), dim=-1)


def boxes_around(points: Tensor, distances: Tensor) -> Tensor:
    """Return boxes (..., 4) of points (..., 2) x, y and their distances (..., 4) to the left, top, right and bottom."""
    return torch.cat((points - distances[..., :2], points + distances[..., 2:]), dim=-1)


def suppress_non_maxima(
    boxes: ManyBoxes,
    scores: BoxScores,
    classes: BoxClasses | None = None,
    iou_threshold: float = 0.5,
    present: BoxFlags | None = None,
) -> BoxFlags:
    """Return which boxes non-maximum suppression keeps, (B, N) bool; nothing here is differentiated.

    Args:
        boxes: (B, N, 4).
        scores: (B, N); of equal scores the first box counts as surer.
        classes: (B, N) int64: boxes of different classes do not suppress one another; None: all do.
        iou_threshold: a box that overlaps a surer one by more than this is dropped.
        present: (B, N) bool: other boxes are neither kept nor do they suppress; None: all.
    """
    rows = max(PAIRS // max(boxes.shape[1], 1) ** 2, 1)
    if len(boxes) > rows:
        starts = range(0, len(boxes), rows)
        return torch.cat(
            [
                suppress_non_maxima(
                    boxes[start : start + rows],
                    scores[start : start + rows],
                    None if classes is None else classes[start : start + rows],
                    iou_threshold,
                    None if present is None else present[start : start + rows],
                )
                for start in starts
            ]
        )
    with torch.no_grad():
        given = torch.ones_like(scores, dtype=torch.bool) if present is None else present
        order = scores.masked_fill(~given, -torch.inf).argsort(dim=1, descending=True, stable=True)
        ranked = boxes.gather(1, order[:, :, None].expand_as(boxes))
        over = (box_iou(ranked, ranked) > iou_threshold).triu(1)  # [b, i, j]: i is surer than j and overlaps it
        if classes is not None:
            kinds = classes.gather(1, order)
            over &= kinds[:, :, None] == kinds[:, None]
        allowed = given.gather(1, order)
        kept = allowed
        for _ in range(boxes.shape[1]):
            following = allowed & ~(over & kept[:, :, None]).any(1)
            if torch.equal(following, kept):
                break
            kept = following
        return torch.zeros_like(kept).scatter(1, order, kept)
