"""`Detection`: objects in boxes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from ..detection_metrics import Objects, suppress_non_maxima
from ..errors import ConfigError, TargetError
from .detection_report import detection_sections
from .report import Results, Section
from .task import Task

OBJECTIVES = ("obj", "cls", "obj*cls", "max-class")
RECORDED = 0.05  # the score from which an audit records what is found
CANDIDATES = 1000  # per image that suppression looks at, the surest


@dataclass(frozen=True)
class Detections:
    """The outputs of a detector before non-maximum suppression: N anchors for each of B images, in a fixed order.

    Args:
        boxes: (B, N, 4) as x1, y1, x2, y2 in pixels of the image that was asked about.
        logits: (B, N, K), of the score of each class: the logit of the probability by which the detector decides.
            Logits and not probabilities, whose gradient vanishes where the detector is sure.
        present: (B, N) bool: False where an anchor only fills the row up.
        objectness: (B, N) logits of a head that says apart whether there is any object; `logits` are then those of the
            product of both probabilities. None: the head has none.
        class_logits: (B, N, K) logits of the classes alone, beside objectness.
    """

    boxes: Tensor
    logits: Tensor
    present: Tensor
    objectness: Tensor | None = None
    class_logits: Tensor | None = None


@dataclass(frozen=True)
class Detection(Task):
    """Outputs are `Detections`.

    Args:
        head: the kind of head, as messages say it.
        objectness: the head says apart whether there is any object.
        score_threshold: the score from which an anchor counts as a detection.
        iou_threshold: of non-maximum suppression.
        max_detections: per image, the surest.
        per_class: suppression acts among boxes of one class only.
        multi_label: an anchor may be a detection of several classes; False: of its surest alone.
        grid_columns: of anchors that form one grid, row by row: a detection is then the largest score of its class
            among the 3x3 places around it (CenterNet), before any suppression. None: no such rule.

    Answers are fused anchor by anchor: the mean of boxes and logits, present where all have it. A person reads how many
    detections there are, and the score of the surest.

    Raises: ConfigError.
    """

    head: str = "detector"
    objectness: bool = False
    score_threshold: float = 0.5
    iou_threshold: float = 0.5
    max_detections: int = 100
    per_class: bool = True
    multi_label: bool = False
    grid_columns: int | None = None

    name: ClassVar[str] = "detection"
    fusions: ClassVar[tuple[str, ...]] = ("mean",)

    def __post_init__(self) -> None:
        for word, value in (("score_threshold", self.score_threshold), ("iou_threshold", self.iou_threshold)):
            if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1:
                raise ConfigError(f"{word}={value!r:.40}; pass a number between 0 and 1")
        for word, number in (("max_detections", self.max_detections), ("grid_columns", self.grid_columns)):
            if number is not None and (not isinstance(number, int) or number < 1):
                raise ConfigError(f"{word}={number!r:.40}; pass an int >= 1")

    @property
    def objectives(self) -> tuple[str, ...]:
        """What an attack may lower or raise, of `OBJECTIVES`.

        "obj", the objectness; "cls", the probability of the object's class; "obj*cls", the score, their product;
        "max-class", the largest score of all classes.
        """
        return OBJECTIVES if self.objectness else ("cls", "max-class")

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
        beside = {
            "objectness": (outputs.objectness, anchors),
            "class_logits": (outputs.class_logits, tuple(logits.shape)),
        }
        for name, (one, wanted_shape) in beside.items():
            if one is not None and (not isinstance(one, Tensor) or tuple(one.shape) != wanted_shape):
                found = str(tuple(one.shape)) if isinstance(one, Tensor) else type(one).__name__
                raise TargetError(f"{name} of detections has shape {wanted_shape}, one for each logit; got {found}")

    def _fused(self, answers: Sequence[Any], how: str) -> Detections:
        first: Detections = answers[0]
        if len({one.logits.shape for one in answers}) > 1:
            shapes = ", ".join(str(tuple(one.logits.shape)) for one in answers)
            raise TargetError(f"detections are fused anchor by anchor, and the answers have logits {shapes}")
        means = {
            field: torch.stack([getattr(one, field) for one in answers]).mean(0)
            for field in ("boxes", "logits", "objectness", "class_logits")
            if getattr(first, field) is not None
        }
        return replace(first, **means, present=torch.stack([one.present for one in answers]).all(0))

    def decode(self, outputs: Detections, score_threshold: float | None = None) -> Objects:
        """Return what the detector answers after non-maximum suppression: `max_detections` rows, the surest first.

        Args:
            outputs: of B images.
            score_threshold: in place of the task's own.
        """
        threshold = self.score_threshold if score_threshold is None else score_threshold
        with torch.no_grad():
            scores = outputs.logits.sigmoid().nan_to_num(0.0).masked_fill(~outputs.present[:, :, None], 0.0)
            if self.grid_columns is not None:
                scores = scores * _peaks(scores, self.grid_columns)
            boxes, scores, classes = self._candidates(outputs.boxes, scores)
            found = scores >= threshold  # the surest first: what is behind the last that counts need not be compared
            most = max(int(found.sum(1).max()), 1) if found.numel() else 1
            boxes, scores, classes, found = (one[:, :most] for one in (boxes, scores, classes, found))
            kept = suppress_non_maxima(boxes, scores, classes if self.per_class else None, self.iou_threshold, found)
            order = scores.masked_fill(~kept, -1.0).argsort(dim=1, descending=True, stable=True)
            order = order[:, : self.max_detections]
            at = order[:, :, None].expand(-1, -1, 4)
            left = self.max_detections - order.shape[1]
            kept, scores, classes = (F.pad(one.gather(1, order), (0, left)) for one in (kept, scores, classes))
            return Objects(F.pad(boxes.gather(1, at), (0, 0, 0, left)), classes, kept, scores, source="detections")

    def _candidates(self, boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return boxes (B, C, 4), scores (B, C) and classes (B, C) of the C surest pairs of anchor and class."""
        kinds = scores.shape[2]
        if self.multi_label:
            best, place = scores.flatten(1).topk(min(CANDIDATES, scores[0].numel()), dim=1)
            anchor, classes = place // kinds, place % kinds
        else:
            best, surest = scores.max(2)
            best, anchor = best.topk(min(CANDIDATES, best.shape[1]), dim=1)
            classes = surest.gather(1, anchor)
        return boxes.gather(1, anchor[:, :, None].expand(-1, -1, 4)), best, classes

    def prediction(self, outputs: Detections, goal: Any) -> dict[str, Tensor]:
        """Return `objects` (B,) int64, the detections, and `confidence` (B,), the score of the surest; 0 where none is.

        Where the goal is about certain objects (`goal.lies_on`), they are those of the anchors on them, and detections
        are what reaches the goal's `score_threshold`.
        """
        counted = goal.lies_on(outputs) if hasattr(goal, "lies_on") else outputs.present
        found = self.decode(replace(outputs, present=counted), getattr(goal, "score_threshold", None))
        best = outputs.logits.amax(2).masked_fill(~counted, -torch.inf)
        surest = torch.cat((best, best.new_full((len(best), 1), -torch.inf)), dim=1).amax(1)  # there may be no anchor
        return {"objects": found.counts(), "confidence": surest.sigmoid()}

    def details(self, outputs: Detections, goal: Any) -> list[Any]:
        """Return for each image the boxes found, from a score of `RECORDED`, and the objects of the goal.

        `found`: [x1, y1, x2, y2, class, score]; `truth`: [x1, y1, x2, y2, class], the class -1 where the goal is about
        any.
        """
        found = self.decode(outputs, min(RECORDED, self.score_threshold))
        assert found.scores is not None
        truth = goal.objects() if hasattr(goal, "objects") else None
        columns = [one.tolist() for one in (found.boxes, found.classes, found.scores, found.present)]
        known = [[]] * len(found.boxes) if truth is None else _entries(truth.boxes, truth.classes, truth.present)
        return [
            {
                "found": [
                    [*_short(box), kind, round(score, 4)] for box, kind, score, there in zip(*row, strict=True) if there
                ],
                "truth": real,
                "score_threshold": self.score_threshold,
            }
            for row, real in zip(zip(*columns, strict=True), known, strict=True)
        ]

    @classmethod
    def sections(cls, results: Results) -> tuple[Section, ...]:
        """Return what became of the objects: average precision, disappearance, mislabels, hallucinations, pictures."""
        return detection_sections(results)


def _entries(boxes: Tensor, classes: Tensor, present: Tensor) -> list[list[list[float]]]:
    """Return [x1, y1, x2, y2, class] of each object that is there, image by image."""
    columns = (boxes.tolist(), classes.tolist(), present.tolist())
    return [
        [[*_short(box), kind] for box, kind, there in zip(*row, strict=True) if there]
        for row in zip(*columns, strict=True)
    ]


def _short(numbers: list[float]) -> list[float]:
    return [round(one, 1) if math.isfinite(one) else 0.0 for one in numbers]


def _peaks(scores: Tensor, columns: int) -> Tensor:
    """Return where a score (B, N, K) is the largest of its class in the 3x3 places around it on the grid."""
    if scores.shape[1] % columns:
        raise TargetError(f"grid_columns={columns} does not divide {scores.shape[1]} anchors into rows")
    maps = scores.transpose(1, 2).reshape(len(scores), scores.shape[2], -1, columns)
    highest: Tensor = F.max_pool2d(maps, 3, 1, 1) == maps
    return highest.flatten(2).transpose(1, 2)
