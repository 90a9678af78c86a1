"""Heads without objectness whose boxes are distributions of distances: YOLOv8 to v11, and NanoDet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...detection_metrics import boxes_around
from ...tasks import Detections
from .head import Head, all_present, grid_points


class DistributionHead(Head):
    """Maps of L strides, each (B, 4 R + K, h, w): R logits for each of four distances, and K class logits.

        distance of a side = stride * sum_r r softmax(z)_r        from the point (place + 0.5) * stride

    There is no objectness: the score of a class is its sigmoid. A box is that of generalized focal loss (Li et al.
    2020, arXiv:2006.04388, eq. 5, 6), as YOLOv8 to v11 (R = 16) and NanoDet-m (R = 11, classes first) have it. Of an
    answer (decoded, raw), as Ultralytics gives in eval mode, the raw part is read: maps, or a dictionary of "boxes"
    (B, 4 R, N), "scores" (B, K, N) and "feats" (maps of the same sizes). Of a dictionary with "one2many" and "one2one"
    (v10) the second is read, which is what the network decides by.

    Args:
        strides: of the L maps.
        bins: R.
        classes_first: the class logits come before the distances.
    """

    name: ClassVar[str] = "YOLOv8 / NanoDet (distributions, without objectness)"
    suppression: ClassVar[Mapping[str, Any]] = {"iou_threshold": 0.6}

    def __init__(self, strides: Sequence[int] = (8, 16, 32), bins: int = 16, classes_first: bool = False) -> None:
        super().__init__()
        self.strides, self.bins, self.classes_first = tuple(strides), bins, classes_first

    def forward(self, raw: Any, size: tuple[int, int]) -> Detections:
        boxes, logits = [], []
        for map_, stride in zip(self._maps(raw, size), self.strides, strict=True):
            rows, columns = map_.shape[2:]
            flat = map_.flatten(2).transpose(1, 2)
            kinds = flat.shape[2] - 4 * self.bins
            split = [kinds, 4 * self.bins] if self.classes_first else [4 * self.bins, kinds]
            parts = torch.split(flat, split, dim=2)
            classes, sides = parts if self.classes_first else parts[::-1]
            steps = torch.arange(self.bins, dtype=flat.dtype, device=flat.device)
            distances = (sides.reshape(*sides.shape[:2], 4, self.bins).softmax(3) * steps).sum(3) * stride
            boxes.append(boxes_around(grid_points(rows, columns, stride, flat), distances))
            logits.append(classes)
        every = torch.cat(boxes, 1)
        return Detections(every, torch.cat(logits, 1), all_present(every))

    def _split(self, held: Mapping[str, Any], size: tuple[int, int]) -> list[Tensor]:
        """Return maps of boxes (B, 4 R, N) and scores (B, K, N) that follow one another, stride by stride."""
        pair = (held["scores"], held["boxes"]) if self.classes_first else (held["boxes"], held["scores"])
        grids = [(-(-size[0] // stride), -(-size[1] // stride)) for stride in self.strides]
        counts = [rows * columns for rows, columns in grids]
        if pair[0].ndim != 3 or pair[1].shape[2] != sum(counts) or pair[0].shape[2] != sum(counts):
            raise self.wrong(held, f"boxes and scores of {sum(counts)} places")
        parts = torch.split(torch.cat(pair, dim=1), counts, dim=2)
        return [part.reshape(*part.shape[:2], *grid) for part, grid in zip(parts, grids, strict=True)]

    def _maps(self, raw: Any, size: tuple[int, int]) -> list[Tensor]:
        held = raw
        if isinstance(held, tuple) and len(held) == 2 and not isinstance(held[1], Tensor):
            held = held[1]
        if isinstance(held, Mapping) and "one2one" in held:
            held = held["one2one"]
        count = len(self.strides)
        if isinstance(held, Mapping) and all(isinstance(held.get(key), Tensor) for key in ("boxes", "scores")):
            held = self._split(held, size)
        whole = isinstance(held, list | tuple) and len(held) == count
        if not whole or not all(isinstance(one, Tensor) and one.ndim == 4 for one in held):
            raise self.wrong(raw, f"{count} maps (B, 4 * {self.bins} + K, h, w)")
        if any(one.shape[1] <= 4 * self.bins for one in held):
            raise self.wrong(raw, f"{count} maps of more than 4 * {self.bins} channels")
        return list(held)
