"""The head of CenterNet: a map of middles for each class, and the sizes of the boxes around them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...detection_metrics import boxes_around
from ...tasks import Detections
from .head import Head, all_present, grid_points


class CenterNetHead(Head):
    """Logits (B, K, h, w) of middles, and sizes (B, 2, h, w) or distances (B, 4, h, w), with or without offsets.

    Sizes and offsets are in places of the map, distances (left, top, right, bottom) in pixels of the input. A detection
    is a place whose score is the largest of its class among the 3x3 around it (`Detection.grid_columns`); all places
    are anchors, since an attack must not overlook what becomes a peak when the peak is gone.

    Args:
        stride: pixels of the input per place.

    Source: Zhou et al. 2019, arXiv:1904.07850, section 4.
    """

    name: ClassVar[str] = "CenterNet (without objectness)"

    def __init__(self, stride: int = 4) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, raw: Any, size: tuple[int, int]) -> Detections:
        wanted = "(logits (B, K, h, w), sizes (B, 2 or 4, h, w)) and perhaps offsets (B, 2, h, w)"
        held = list(raw.values()) if isinstance(raw, Mapping) else raw
        if not isinstance(held, list | tuple) or len(held) not in (2, 3):
            raise self.wrong(raw, wanted)
        if not all(isinstance(one, Tensor) and one.ndim == 4 for one in held) or held[1].shape[1] not in (2, 4):
            raise self.wrong(raw, wanted)
        logits, sides = held[:2]
        rows, columns = logits.shape[2:]
        points = grid_points(rows, columns, self.stride, logits, 0.0)
        if len(held) == 3:
            points = points + held[2].flatten(2).transpose(1, 2) * self.stride
        flat = sides.flatten(2).transpose(1, 2)
        distances = flat if flat.shape[2] == 4 else torch.cat((flat, flat), dim=2) * (self.stride / 2)
        boxes = boxes_around(points.expand(len(logits), -1, -1), distances)
        return Detections(boxes, logits.flatten(2).transpose(1, 2), all_present(boxes))
