"""The goals of attacks on object detectors: objects vanish, are taken for something else, or are made up.

All of them judge anchors before non-maximum suppression. An anchor lies on an object where the intersection over union
of its box, as it is now, with the object's box reaches `iou`; it finds a class where the score of the class reaches
`score_threshold`. Suppression only drops anchors, so that no anchor on an object means no detection on it either.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from ..errors import GoalError, InputError
from ..tasks import OBJECTIVES, Detection, Detections, Objects, Task, box_iou
from .climbs import Climb, PowerMargin
from .goal import Goal
from .terms import Terms

CLEAR = 50.0  # the margin, in logits, of an object that no anchor lies near


class DetectionGoal(Goal):
    """Base class of goals about given boxes, which have (B, 4) `boxes`, or (B, M, 4) with NaN where there are fewer."""

    boxes: Tensor
    score_threshold: float

    task: ClassVar[type[Task] | None] = Detection

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def threshold(self) -> float:
        """The logit of `score_threshold`."""
        return math.log(self.score_threshold) - math.log1p(-self.score_threshold)

    @property
    def all_boxes(self) -> Tensor:
        """The boxes (B, M, 4)."""
        return self.boxes[:, None] if self.boxes.ndim == 2 else self.boxes

    @abstractmethod
    def places(self, outputs: Detections) -> Tensor:
        """Return which anchors lie on which object, (B, N, M) bool."""

    def lies_on(self, outputs: Detections) -> Tensor:
        """Return which anchors lie on any of the objects, (B, N) bool."""
        return self.places(outputs).any(2)

    def check(self, outputs: Detections, all_rows: Self) -> None:
        """Raise InputError where a box is empty or a class unknown, GoalError where a number is out of its range."""
        _check_share("score_threshold", self.score_threshold, "a score strictly between 0 and 1")
        if self.score_threshold == 1:
            raise GoalError("score_threshold=1 is reached by no score; pass a number between 0 and 1")
        _check_boxes(all_rows.boxes)

    def _of_classes(self, logits: Tensor, classes: Tensor) -> Tensor:
        """Return the logits (B, N, M) of the class of each object, from logits (B, N, K) and classes (B,) or (B, M)."""
        kinds = classes.reshape(len(classes), -1).clamp_min(0)
        return logits.gather(2, kinds[:, None].expand(-1, logits.shape[1], -1))


class OnObjects(DetectionGoal):
    """Base class of goals about objects that are in the image, on which anchors lie by `iou`."""

    iou: float
    classes: Tensor | None

    def objects(self) -> Objects:
        """Return the objects that the goal is about, with class -1 where it is about any class."""
        boxes = self.all_boxes
        kinds = torch.full(boxes.shape[:2], -1, device=boxes.device) if self.classes is None else self.classes
        return Objects(boxes, kinds.reshape(boxes.shape[:2]), boxes.isfinite().all(2))

    def places(self, outputs: Detections) -> Tensor:
        return self._on(self._overlaps(outputs), outputs)

    def _overlaps(self, outputs: Detections) -> Tensor:
        boxes = outputs.boxes.detach()
        return box_iou(boxes, self.all_boxes.to(boxes))

    def _on(self, overlaps: Tensor, outputs: Detections) -> Tensor:
        return (overlaps >= self.iou) & outputs.present[:, :, None]

    def _unknown(self, overlaps: Tensor, outputs: Detections) -> Tensor:
        """Return which anchors lie nobody knows where, their boxes being NaN, (B, N, M) bool."""
        real = self.all_boxes.isfinite().all(2)[:, None]
        return overlaps.isnan() & outputs.present[:, :, None] & real

    def _lost(self, logits: Tensor, overlaps: Tensor, outputs: Detections) -> Tensor:
        """Return threshold - logit (B, N * M) of each anchor on each object, +inf elsewhere, NaN where it is NaN."""
        missed = (self.threshold - logits).expand_as(overlaps)
        missed = missed.masked_fill(~self._on(overlaps, outputs), torch.inf)
        return missed.masked_fill(self._unknown(overlaps, outputs), torch.nan).flatten(1)

    def check(self, outputs: Detections, all_rows: Self) -> None:
        super().check(outputs, all_rows)
        _check_share("iou", self.iou, "an overlap above 0 and at most 1")


@dataclass(frozen=True)
class Vanish(OnObjects):
    """The goal that no anchor that lies on an object finds it any more. Every such anchor has to lose it.

    Args:
        boxes: (B, 4), one object in each image, x1, y1, x2, y2 in pixels; or (B, M, 4), of which all must vanish, with
            rows of NaN where an image has fewer.
        classes: (B,) or (B, M) int64: an object vanishes where it is not found as its class; None: in no class.
        iou: of an anchor's box that counts as lying on the object, in (0, 1].
        score_threshold: the score from which an anchor finds an object, in (0, 1).
        objective: what the loss is made of, one of those that the target's task states. "obj": the objectness; "cls":
            the probability of the object's class; "obj*cls": the score of its class; "max-class": the largest score of
            all classes; None: the score that success is about. Success is always about the score.
        loss: what attacks ascend that name no loss of their own.
    """

    boxes: Tensor
    classes: Tensor | None = None
    iou: float = 0.3
    score_threshold: float = 0.5
    objective: str | None = None
    loss: Climb = field(default_factory=PowerMargin)

    @classmethod
    def all_of(cls, objects: Objects, **settings: Any) -> Self:
        """Return the goal that all of these objects vanish, each as its class; `settings` are other fields."""
        boxes, classes = padded_boxes(objects)
        return cls(boxes, classes, **settings)

    def terms(self, outputs: Detections) -> Terms:
        """Return threshold - logit for each anchor on an object, all of which are needed; NaN where its box is NaN."""
        return self._terms(outputs, self._scores(outputs))

    def loss_terms(self, outputs: Detections) -> Terms:
        """Return the same terms, of what the objective names."""
        if self.objective is None:
            return self.terms(outputs)
        if self.objective == "obj":
            assert outputs.objectness is not None
            return self._terms(outputs, outputs.objectness[:, :, None])
        if self.objective == "max-class":
            return self._terms(outputs, outputs.logits.amax(2, keepdim=True))
        assert self.classes is not None
        alone = outputs.logits if outputs.class_logits is None or self.objective == "obj*cls" else outputs.class_logits
        return self._terms(outputs, self._of_classes(alone, self.classes))

    def _scores(self, outputs: Detections) -> Tensor:
        return (
            outputs.logits.amax(2, keepdim=True)
            if self.classes is None
            else self._of_classes(outputs.logits, self.classes)
        )

    def _terms(self, outputs: Detections, logits: Tensor) -> Terms:
        lost = self._lost(logits, self._overlaps(outputs), outputs)
        return Terms(torch.cat((lost, lost.new_full((len(lost), 1), CLEAR)), dim=1), every=True)

    def check_task(self, task: Task) -> None:
        """Raise GoalError where the head does not state the objective."""
        if not isinstance(task, Detection) or self.objective is None:
            return
        if self.objective not in OBJECTIVES:
            raise GoalError(f"objective={self.objective!r:.40} is unknown; pass one of {', '.join(task.objectives)}")
        if self.objective not in task.objectives:
            why = "has no objectness" if "obj" in self.objective else f"does not state {self.objective!r}"
            raise GoalError(
                f"objective={self.objective!r} cannot be climbed: a {task.head} head {why}; pass one of "
                f"{', '.join(task.objectives)}"
            )
        if self.objective in ("cls", "obj*cls") and self.classes is None:
            raise GoalError(
                f"objective={self.objective!r} is that of the object's class; pass classes= beside the boxes"
            )

    def check(self, outputs: Detections, all_rows: Self) -> None:
        super().check(outputs, all_rows)
        if self.objective == "obj" and outputs.objectness is None:
            raise GoalError("objective='obj': these detections have no objectness; pass 'cls' or 'max-class'")
        _check_classes("classes", all_rows.classes, all_rows.boxes, outputs.logits.shape[2])


@dataclass(frozen=True)
class Mislabel(OnObjects):
    """The goal that an object is still found, and as another class: no anchor on it finds its class, and one another.

    Args:
        boxes: (B, 4), one object in each image, x1, y1, x2, y2 in pixels.
        classes: (B,) int64, the classes of the objects.
        target_classes: (B,) int64, the classes to be found instead; None: any other.
        iou: of an anchor's box that counts as lying on the object, in (0, 1].
        score_threshold: the score from which an anchor finds a class, in (0, 1).
        loss: what attacks ascend that name no loss of their own.
    """

    boxes: Tensor
    classes: Tensor
    target_classes: Tensor | None = None
    iou: float = 0.3
    score_threshold: float = 0.5
    loss: Climb = field(default_factory=PowerMargin)

    def terms(self, outputs: Detections) -> Terms:
        """Return threshold - logit of the object's class for each anchor on it, and last what the surest other has."""
        overlaps = self._overlaps(outputs)
        lost = self._lost(self._of_classes(outputs.logits, self.classes), overlaps, outputs)
        if self.target_classes is None:
            own = torch.arange(outputs.logits.shape[2], device=lost.device) == self.classes[:, None]
            other = outputs.logits.masked_fill(own[:, None], -torch.inf).amax(2)
        else:
            other = self._of_classes(outputs.logits, self.target_classes)[:, :, 0]
        on = self._on(overlaps, outputs)[:, :, 0]
        found = torch.cat((other.masked_fill(~on, -torch.inf), lost.new_full((len(lost), 1), -CLEAR)), dim=1)
        return Terms(torch.cat((lost, found.amax(1, keepdim=True) - self.threshold), dim=1), every=True)

    def check(self, outputs: Detections, all_rows: Self) -> None:
        super().check(outputs, all_rows)
        kinds = outputs.logits.shape[2]
        if all_rows.boxes.ndim != 2:
            raise InputError(
                f"Mislabel is about one object in each image: boxes (B, 4); got {tuple(all_rows.boxes.shape)}"
            )
        for word, classes in (("classes", all_rows.classes), ("target_classes", all_rows.target_classes)):
            _check_classes(word, classes, all_rows.boxes, kinds)
        if kinds < 2:
            raise GoalError("the detector knows one class, so that nothing can be taken for another; use Vanish")
        targets = all_rows.target_classes
        if targets is not None and bool((targets == all_rows.classes).any()):
            row = int((targets == all_rows.classes).nonzero()[0])
            raise InputError(f"target_classes[{row}] is the object's own class, {int(targets[row])}; pass another")


@dataclass(frozen=True)
class Create(DetectionGoal):
    """The goal that an object is found where there is none: an anchor finds the class, its middle within a region.

    Args:
        boxes: (B, 4), the regions, x1, y1, x2, y2 in pixels; the caller knows that no such object is there.
        classes: (B,) int64, the class to be found; None: any.
        score_threshold: the score from which an anchor finds a class, in (0, 1).
        loss: what attacks ascend that name no loss of their own.
    """

    boxes: Tensor
    classes: Tensor | None = None
    score_threshold: float = 0.5
    loss: Climb = field(default_factory=PowerMargin)

    def places(self, outputs: Detections) -> Tensor:
        """Return which anchors have their middle within the region, (B, N, 1) bool."""
        boxes, regions = outputs.boxes.detach(), self.all_boxes.to(outputs.boxes)
        middle = ((boxes[..., :2] + boxes[..., 2:]) / 2)[:, :, None]
        within = (middle >= regions[:, None, :, :2]) & (middle <= regions[:, None, :, 2:])
        return within.all(3) & outputs.present[:, :, None]

    def terms(self, outputs: Detections) -> Terms:
        """Return logit - threshold for each anchor in the region, one of which suffices."""
        logits = (
            outputs.logits.amax(2) if self.classes is None else self._of_classes(outputs.logits, self.classes)[:, :, 0]
        )
        made = (logits - self.threshold).masked_fill(~self.lies_on(outputs), -torch.inf)
        return Terms(torch.cat((made, made.new_full((len(made), 1), -CLEAR)), dim=1))

    def check(self, outputs: Detections, all_rows: Self) -> None:
        super().check(outputs, all_rows)
        if all_rows.boxes.ndim != 2:
            raise InputError(
                f"Create is about one region in each image: boxes (B, 4); got {tuple(all_rows.boxes.shape)}"
            )
        _check_classes("classes", all_rows.classes, all_rows.boxes, outputs.logits.shape[2])


def padded_boxes(objects: Objects) -> tuple[Tensor, Tensor]:
    """Return boxes (B, M, 4), NaN where an entry is not there, and classes (B, M), of the objects that are there.

    Raises: InputError for an image without objects.
    """
    counts = objects.counts()
    if bool((counts == 0).any()):
        row = int((counts == 0).nonzero()[0])
        raise InputError(f"image {row} has no object, so that none can vanish; leave it out")
    order = (~objects.present).to(torch.uint8).argsort(dim=1, stable=True)[:, : int(counts.max())]
    boxes = objects.boxes.masked_fill(~objects.present[:, :, None], torch.nan)
    return boxes.gather(1, order[:, :, None].expand(-1, -1, 4)), objects.classes.gather(1, order)


def _check_share(word: str, value: object, wanted: str) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= 1:
        raise GoalError(f"{word}={value!r:.40}; pass {wanted}")


def _check_boxes(boxes: Tensor) -> None:
    if not isinstance(boxes, Tensor) or boxes.ndim not in (2, 3) or boxes.shape[-1] != 4 or boxes.shape[1] == 0:
        got = tuple(boxes.shape) if isinstance(boxes, Tensor) else type(boxes).__name__
        raise InputError(f"boxes are (images, 4), one for each image, or (images, many, 4); got {got}")
    every = boxes[:, None] if boxes.ndim == 2 else boxes
    right = every.isfinite().all(2) & (every[..., 2] > every[..., 0]) & (every[..., 3] > every[..., 1])
    absent = every.isnan().all(2) if boxes.ndim == 3 else torch.zeros_like(right)
    wrong = ~(right | absent)
    wrong[:, 0] |= ~right.any(1)  # an image of which all are absent
    if bool(wrong.any()):
        row, place = wrong.nonzero()[0].tolist()
        name = f"boxes[{row}]" if boxes.ndim == 2 else f"boxes[{row}, {place}]"
        raise InputError(f"{name} is {every[row, place].tolist()}; pass x1, y1, x2, y2 with x1 < x2 and y1 < y2")


def _check_classes(word: str, classes: Tensor | None, boxes: Tensor, kinds: int) -> None:
    if classes is None:
        return
    if not isinstance(classes, Tensor) or classes.dtype != torch.int64 or classes.shape != boxes.shape[:-1]:
        got = f"{classes.dtype} {tuple(classes.shape)}" if isinstance(classes, Tensor) else type(classes).__name__
        raise InputError(f"{word} are int64 {tuple(boxes.shape[:-1])}, one for each box; got {got}")
    real = boxes.isfinite().all(-1)
    wrong = ((classes < 0) | (classes >= kinds)) & real
    if bool(wrong.any()):
        place = wrong.nonzero()[0].tolist()
        raise InputError(
            f"{word}{place} is {int(classes[tuple(place)])}, and the detector has classes 0 to {kinds - 1}"
        )
