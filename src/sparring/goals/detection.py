"""The goal of attacks on object detectors: an object is no longer detected."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, Self

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import GoalError, InputError
from ..shapes import FloatPerWay
from ..tasks import Detection, Detections, Task
from .climbs import Climb, PowerMargin
from .goal import Goal
from .terms import Terms

Boxes = Float[Tensor, "batch 4"]
ManyBoxes = Float[Tensor, "batch many 4"]

CLEAR = 50.0  # the margin, in logits, of an object that no anchor lies near


@dataclass(frozen=True)
class Vanish(Goal):
    """The goal that no anchor that lies on the object finds it any more, in whatever class.

    An anchor lies on it where the intersection over union of its box, as it is now, with the true box reaches `iou`;
    it finds an object where a logit is above `threshold`. Every such anchor has to lose it.

    Args:
        boxes: (B, 4), the true box of one object in each image, x1, y1, x2, y2 in pixels.
        iou: of an anchor's box that counts as lying on the object, in (0, 1].
        threshold: the logit above which an anchor finds an object; 0 is a probability of one half.
        loss: what attacks ascend that name no loss of their own.
    """

    boxes: Boxes
    iou: float = 0.3
    threshold: float = 0.0
    loss: Climb = field(default_factory=PowerMargin)

    task: ClassVar[type[Task] | None] = Detection

    def __len__(self) -> int:
        return len(self.boxes)

    def lies_on(self, outputs: Detections) -> Tensor:
        """Return which anchors lie on the object, (B, N) bool."""
        return (self._overlaps(outputs) >= self.iou) & outputs.present

    def _overlaps(self, outputs: Detections) -> Tensor:
        return overlaps(outputs.boxes.detach(), self.boxes)

    def terms(self, outputs: Detections) -> Terms:
        """Return threshold - logit for each anchor on the object, all of which are needed; NaN where its box is NaN."""
        overlap = self._overlaps(outputs)
        elsewhere = ~((overlap >= self.iou) & outputs.present)
        missed = (self.threshold - outputs.logits.amax(2)).masked_fill(elsewhere, torch.inf)
        missed = missed.masked_fill(overlap.isnan() & outputs.present, torch.nan)  # nobody knows where it lies
        return Terms(torch.cat((missed, missed.new_full((len(missed), 1), CLEAR)), dim=1), every=True)

    def check(self, outputs: Detections, all_rows: Self) -> None:
        """Raise InputError where a box is empty, GoalError where `iou` is not in (0, 1]."""
        if not isinstance(self.iou, int | float) or not 0 < self.iou <= 1:
            raise GoalError(f"iou={self.iou} is no overlap; pass a number above 0 and at most 1")
        if not isinstance(self.threshold, int | float) or not math.isfinite(self.threshold):
            raise GoalError(f"threshold={self.threshold} is no logit; pass a finite number")
        boxes = all_rows.boxes
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise InputError(f"boxes are (images, 4), one for each image; got {tuple(boxes.shape)}")
        wrong = ~boxes.isfinite().all(1) | ~((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]))
        if bool(wrong.any()):
            row = int(wrong.nonzero()[0])
            raise InputError(f"boxes[{row}] is {boxes[row].tolist()}; pass x1, y1, x2, y2 with x1 < x2 and y1 < y2")


def overlaps(boxes: ManyBoxes, truth: Boxes) -> FloatPerWay:
    """Return the intersection over union (B, N) of boxes (B, N, 4) with one box (B, 4) each."""
    low = torch.maximum(boxes[..., :2], truth[:, None, :2])
    high = torch.minimum(boxes[..., 2:], truth[:, None, 2:])
    shared = (high - low).clamp_min(0).prod(2)
    areas = [(one[..., 2:] - one[..., :2]).clamp_min(0).prod(-1) for one in (boxes, truth)]
    return shared / (areas[0] + areas[1][:, None] - shared).clamp_min(torch.finfo(boxes.dtype).tiny)
