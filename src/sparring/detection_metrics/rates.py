"""What became of each annotated object, and what was found where there is none.

An object is *found* where a detection of its class overlaps it by `iou`, *mislabelled* where only detections of other
classes do, and has *disappeared* where none does. A detection is *hallucinated* where it overlaps no object at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ConfigError, InputError
from ..intervals import wilson
from .boxes import box_iou
from .objects import Objects


@dataclass(frozen=True)
class DetectionRates:
    """The counts at one pair of thresholds.

    Args:
        iou_threshold: of a detection that lies on an object.
        score_threshold: from which a detection counts.
        objects, found, mislabelled, disappeared: how many annotated objects there are, and what became of them.
        images, hallucinated: how many images, and how many detections in them lie on no object.
    """

    iou_threshold: float
    score_threshold: float
    objects: int
    found: int
    mislabelled: int
    disappeared: int
    images: int
    hallucinated: int

    @property
    def disappearance_rate(self) -> float:
        """The share of objects that no detection lies on; NaN without objects."""
        return self.disappeared / self.objects if self.objects else float("nan")

    @property
    def mislabel_rate(self) -> float:
        """The share of objects that are found as something else alone."""
        return self.mislabelled / self.objects if self.objects else float("nan")

    @property
    def hallucinations_per_image(self) -> float:
        """Detections on no object, per image."""
        return self.hallucinated / self.images if self.images else float("nan")

    def disappearance_interval(self) -> tuple[float, float]:
        """Return the 95 % interval of Wilson of the disappearance rate."""
        return wilson(self.disappeared, self.objects)


def detection_rates(
    found: Objects, truth: Objects, iou_thresholds: Sequence[float] = (0.5,), score_thresholds: Sequence[float] = (0.5,)
) -> list[DetectionRates]:
    """Return the rates of `found` against `truth`, of the same B images, at each pair of thresholds.

    Crowds count neither as objects nor as places of hallucinations.

    Raises: InputError for answers without scores or of other images, ConfigError for thresholds out of range.
    """
    if found.scores is None or len(found.boxes) != len(truth.boxes):
        raise InputError("rates are those of a detector's answer, with scores, about the images that are annotated")
    for word, values in (("iou_thresholds", iou_thresholds), ("score_thresholds", score_thresholds)):
        if not values or not all(0 < one <= 1 for one in values):
            raise ConfigError(f"{word}={tuple(values)}; pass numbers above 0 and at most 1")
    counted = truth.present if truth.crowd is None else truth.present & ~truth.crowd
    overlaps = box_iou(found.boxes, truth.boxes.to(found.boxes))
    same = found.classes[:, :, None] == truth.classes[:, None]
    made = []
    for iou in iou_thresholds:
        for score in score_thresholds:
            seen = found.present & (found.scores >= score)
            on = (overlaps >= iou) & seen[:, :, None] & truth.present[:, None]
            right, any_ = (on & same).any(1) & counted, on.any(1) & counted
            made.append(
                DetectionRates(
                    float(iou), float(score), int(counted.sum()), int(right.sum()), int((any_ & ~right).sum()),
                    int((counted & ~any_).sum()), len(found.boxes), int((seen & ~on.any(2)).sum()),
                )
            )  # fmt: skip
    return made


def consecutive_misses(missed: Tensor, length: int) -> float:
    """Return the share of runs of `length` successive frames in all of which an object was missed.

    Args:
        missed: (F,) or (F, N) bool, of N objects in F frames in their order.
        length: of a run, in frames; each frame but the last length - 1 begins one.

    Raises: InputError where there are fewer frames.
    """
    if missed.dtype != torch.bool or missed.ndim not in (1, 2):
        raise InputError(f"missed is bool (frames,) or (frames, objects); got {missed.dtype} {tuple(missed.shape)}")
    if not isinstance(length, int) or not 1 <= length <= len(missed):
        raise InputError(f"length={length!r} of {len(missed)} frames; pass an int from 1 to their number")
    return float(missed.unfold(0, length, 1).all(-1).double().mean())
