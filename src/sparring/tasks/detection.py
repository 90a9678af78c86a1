"""`Detection`: objects in boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..errors import TargetError
from .task import Task


@dataclass(frozen=True)
class Detections:
    """The outputs of a detector before non-maximum suppression: N anchors for each of B images, in a fixed order.

    Args:
        boxes: (B, N, 4) as x1, y1, x2, y2 in pixels of the image that was asked about.
        logits: (B, N, K), one for each class; above 0 where the anchor finds an object of the class. Logits and not
            probabilities, whose gradient vanishes where the detector is sure.
        present: (B, N) bool: False where an anchor only fills the row up.
    """

    boxes: Tensor
    logits: Tensor
    present: Tensor


@dataclass(frozen=True)
class Detection(Task):
    """Outputs are `Detections`.

    Answers are fused anchor by anchor: the mean of the boxes and of the logits, present where all have it. A person
    reads how many anchors find an object, and the probability of the surest.
    """

    name: ClassVar[str] = "detection"
    fusions: ClassVar[tuple[str, ...]] = ("mean",)

    def check(self, outputs: Any, count: int) -> None:
        wanted = "the outputs of detection are Detections(boxes (B, N, 4), logits (B, N, K), present (B, N) bool)"
        if not isinstance(outputs, Detections):
            raise TargetError(f"{wanted}; got {type(outputs).__name__}")
        boxes, logits, present = outputs.boxes, outputs.logits, outputs.present
        if not all(isinstance(one, Tensor) for one in (boxes, logits, present)):
            kinds = ", ".join(type(one).__name__ for one in (boxes, logits, present))
            raise TargetError(f"{wanted}; got {kinds}")
        anchors = tuple(present.shape)
        fits = present.ndim == 2 and boxes.shape == (*anchors, 4) and logits.ndim == 3 and logits.shape[:2] == anchors
        real = boxes.is_floating_point() and logits.is_floating_point() and present.dtype == torch.bool
        if not (fits and real) or len(present) != count or logits.shape[2] == 0:
            got = ", ".join(f"{one.dtype} {tuple(one.shape)}" for one in (boxes, logits, present))
            raise TargetError(f"{wanted} for B = {count}, all but present real numbers; got {got}")

    def _fused(self, answers: Sequence[Any], how: str) -> Detections:
        first: Detections = answers[0]
        if len({one.logits.shape for one in answers}) > 1:
            shapes = ", ".join(str(tuple(one.logits.shape)) for one in answers)
            raise TargetError(f"detections are fused anchor by anchor, and the answers have logits {shapes}")
        boxes, logits = (torch.stack([getattr(one, field) for one in answers]).mean(0) for field in ("boxes", "logits"))
        present = torch.stack([one.present for one in answers]).all(0)
        return replace(first, boxes=boxes, logits=logits, present=present)

    def prediction(self, outputs: Detections, goal: Any) -> dict[str, Tensor]:
        """Return `objects` (B,) int64, the anchors above 0, and `confidence` (B,) of the surest, 0 where none is.

        Where the goal is about one object (`goal.lies_on`), they are the anchors on that object.
        """
        counted = goal.lies_on(outputs) if hasattr(goal, "lies_on") else outputs.present
        best = outputs.logits.amax(2).masked_fill(~counted, -torch.inf)
        surest = torch.cat((best, best.new_full((len(best), 1), -torch.inf)), dim=1).amax(1)  # there may be no anchor
        return {"objects": (best > 0).sum(1), "confidence": surest.sigmoid()}
