"""The head of FCOS: distances from points, and a centerness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...detection_metrics import boxes_around
from ...tasks import Detections
from .head import Head, all_present, grid_points, log_odds_of_product, log_odds_of_root


class FCOSHead(Head):
    """ "cls_logits" (B, N, K), "bbox_regression" (B, N, 4), "bbox_ctrness" (B, N, 1) of the points of all strides.

        box: from its point, stride * relu(t) to each side        score = sqrt( sigmoid(class) * sigmoid(centerness) )

    Points lie at (place + 0.5) * stride, row by row, of maps with ceil(side / stride) places. Centerness says how far
    from the middle of an object a point is, and not whether there is one: it is no objectness.

    Source: Tian et al. 2019, arXiv:1904.01355, section 3; the square root as in torchvision.
    """

    name: ClassVar[str] = "FCOS (centerness, without objectness)"
    suppression: ClassVar[Mapping[str, Any]] = {"iou_threshold": 0.6}

    def __init__(self, strides: Sequence[int] = (8, 16, 32, 64, 128)) -> None:
        super().__init__()
        self.strides = tuple(strides)

    def forward(self, raw: Any, size: tuple[int, int]) -> Detections:
        names = ("cls_logits", "bbox_regression", "bbox_ctrness")
        held = [raw.get(name) for name in names] if isinstance(raw, Mapping) else [None]
        grids = [(-(-size[0] // stride), -(-size[1] // stride), stride) for stride in self.strides]
        count = sum(rows * columns for rows, columns, _ in grids)
        wanted = f"cls_logits (B, {count}, K), bbox_regression (B, {count}, 4) and bbox_ctrness (B, {count}, 1)"
        found = [one for one in held if isinstance(one, Tensor) and one.ndim == 3 and one.shape[1] == count]
        if len(found) < len(names):
            raise self.wrong(raw, wanted)
        logits, distances, centerness = found
        points = torch.cat([grid_points(rows, columns, stride, logits) for rows, columns, stride in grids])
        scale = torch.cat([logits.new_full((rows * columns, 1), stride) for rows, columns, stride in grids])
        boxes = boxes_around(points, distances.relu() * scale)
        return Detections(boxes, log_odds_of_root(log_odds_of_product(logits, centerness)), all_present(boxes))
