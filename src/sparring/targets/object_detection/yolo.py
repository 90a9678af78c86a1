"""YOLO heads with anchors and objectness: versions 3, 4, 5 and 7."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...errors import ConfigError
from ...tasks import Detections
from .head import Head, all_present, grid_points, log_odds_of_product


class YOLOHead(Head):
    """Maps of L strides, each (B, A, h, w, 5 + K) or (B, A * (5 + K), h, w): box, objectness and K classes, all logits.

        version 3     middle (s(t_xy) + place) * stride,            size anchor * exp(t_wh)
        version 5     middle (2 s(t_xy) - 0.5 + place) * stride,    size anchor * (2 s(t_wh))^2       (4, 7: the same)

    with s the sigmoid. The score of a class is the product of objectness and class probability. Of an answer (decoded,
    maps), as Ultralytics' YOLOv5 gives in eval mode, the maps are read: what is decoded has no logits.

    Args:
        anchors: (L, A, 2) widths and heights in pixels of the input.
        strides: of the L maps.
        version: 3 or 5.

    Sources: Redmon & Farhadi 2018, arXiv:1804.02767, section 2; ultralytics/yolov5, models/yolo.py.
    """

    name: ClassVar[str] = "YOLO (with objectness)"
    objectness: ClassVar[bool] = True
    anchors: Tensor

    def __init__(self, anchors: Any, strides: Sequence[int] = (8, 16, 32), version: int = 5) -> None:
        super().__init__()
        table = torch.as_tensor(anchors, dtype=torch.float32)
        if table.ndim != 3 or table.shape[2] != 2 or len(table) != len(strides):
            raise ConfigError(
                f"anchors have shape {tuple(table.shape)}; pass ({len(strides)}, A, 2), one row of A for each stride"
            )
        if version not in (3, 5):
            raise ConfigError(f"version={version!r}; pass 3 or 5 (4 and 7 decode as 5, 8 and later: DistributionHead)")
        self.strides, self.version = tuple(strides), version
        self.register_buffer("anchors", table)

    def forward(self, raw: Any, size: tuple[int, int]) -> Detections:
        maps = self._maps(raw)
        boxes, objectness, classes = [], [], []
        for map_, stride, anchors in zip(maps, self.strides, self.anchors.to(maps[0]), strict=True):
            rows, columns = map_.shape[2:4]
            places = grid_points(rows, columns, 1.0, map_, 0.0).view(1, 1, rows, columns, 2)
            shape = anchors.view(1, -1, 1, 1, 2)
            if self.version == 3:
                middle, sides = map_[..., :2].sigmoid() + places, shape * map_[..., 2:4].exp()
            else:
                middle, sides = (
                    2 * map_[..., :2].sigmoid() - 0.5 + places,
                    shape * (2 * map_[..., 2:4].sigmoid()).square(),
                )
            corners = torch.cat((middle * stride - sides / 2, middle * stride + sides / 2), dim=4)
            boxes.append(corners.flatten(1, 3))
            objectness.append(map_[..., 4].flatten(1))
            classes.append(map_[..., 5:].flatten(1, 3))
        every, found, kinds = torch.cat(boxes, 1), torch.cat(objectness, 1), torch.cat(classes, 1)
        return Detections(every, log_odds_of_product(found[:, :, None], kinds), all_present(every), found, kinds)

    def _maps(self, raw: Any) -> list[Tensor]:
        count, per_place = len(self.strides), self.anchors.shape[1]
        wanted = f"{count} maps (B, {per_place}, h, w, 5 + K)"
        held = raw[1] if isinstance(raw, tuple) and len(raw) == 2 and isinstance(raw[1], list | tuple) else raw
        if not isinstance(held, list | tuple) or len(held) != count or not all(isinstance(one, Tensor) for one in held):
            raise self.wrong(raw, wanted)
        maps = []
        for one in held:
            if one.ndim == 4 and one.shape[1] % per_place == 0:
                one = one.unflatten(1, (per_place, -1)).permute(0, 1, 3, 4, 2)
            if one.ndim != 5 or one.shape[1] != per_place or one.shape[4] < 6:
                raise self.wrong(raw, wanted)
            maps.append(one)
        return maps
