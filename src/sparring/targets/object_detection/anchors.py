"""Heads with anchor boxes: SSD and RetinaNet."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...detection_metrics import corners_of
from ...errors import ConfigError
from ...tasks import Detections
from .head import Head, all_present, log_odds

WIDEST = math.log(1000 / 16)  # of exp(t_wh), as in torchvision and Detectron


class AnchorHead(Head):
    """Class logits (B, N, K) and box offsets (B, N, 4) of N anchor boxes, as "cls_logits" and "bbox_regression".

        middle = t_xy / weights_xy * anchor size + anchor middle        size = anchor size * exp(t_wh / weights_wh)

    A pair (logits, offsets) serves as well.

    Args:
        anchors: (N, 4) as x1, y1, x2, y2 in pixels of the input.
        weights: of the four offsets; torchvision's RetinaNet has (1, 1, 1, 1), its SSD (10, 10, 5, 5).
        softmax: the K classes, of which the first is the background, exclude one another (SSD); False: each has a
            sigmoid of its own (RetinaNet).

    Sources: Liu et al. 2016, arXiv:1512.02325, eq. 2; Lin et al. 2017, arXiv:1708.02002, section 4.
    """

    name: ClassVar[str] = "SSD / RetinaNet (anchor boxes)"
    anchors: Tensor

    def __init__(self, anchors: Any, weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0), softmax: bool = False) -> None:
        super().__init__()
        table = torch.as_tensor(anchors, dtype=torch.float32)
        if table.ndim != 2 or table.shape[1] != 4 or not bool((table[:, 2:] > table[:, :2]).all()):
            raise ConfigError(f"anchors {tuple(table.shape)} are no boxes (N, 4) with x1 < x2 and y1 < y2")
        if len(weights) != 4 or min(weights) <= 0:
            raise ConfigError(f"weights={weights!r:.60}; pass four positive numbers")
        self.softmax, self.weights = softmax, tuple(weights)
        self.register_buffer("anchors", table)

    def forward(self, raw: Any, size: tuple[int, int]) -> Detections:
        wanted = f"cls_logits (B, {len(self.anchors)}, K) and bbox_regression (B, {len(self.anchors)}, 4)"
        if isinstance(raw, Mapping):
            pair = (raw.get("cls_logits"), raw.get("bbox_regression"))
        else:
            pair = tuple(raw) if isinstance(raw, list | tuple) and len(raw) == 2 else (None, None)
        logits, offsets = pair
        if not isinstance(logits, Tensor) or not isinstance(offsets, Tensor) or offsets.shape[1:] != self.anchors.shape:
            raise self.wrong(raw, wanted)
        if logits.ndim != 3 or logits.shape[:2] != offsets.shape[:2]:
            raise self.wrong(raw, wanted)
        anchors = self.anchors.to(offsets)
        sides, middles = anchors[:, 2:] - anchors[:, :2], (anchors[:, 2:] + anchors[:, :2]) / 2
        scaled = offsets / offsets.new_tensor(self.weights)
        center = scaled[..., :2] * sides + middles
        extent = sides * scaled[..., 2:].clamp_max(WIDEST).exp()
        boxes = corners_of(torch.cat((center, extent), dim=2))
        kinds = log_odds(logits)[..., 1:] if self.softmax else logits
        return Detections(boxes, kinds, all_present(boxes))
