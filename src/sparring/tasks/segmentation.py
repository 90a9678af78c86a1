"""`Segmentation`: one class per pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..segmentation_metrics import confusion
from .report import Column, Results, Section, Table
from .task import Task, check_tensor, mean_of_probabilities, valid_logits

TEXT = (
    "Pixels are counted over all images, those without a label left out. The mean IoU is that of the classes that "
    "occur. Under attack each image counts with its worst recorded example, and as it is where none was found; with a "
    "goal in whole parts (margin_in='parts') that is the example of the lowest pixel accuracy."
)


@dataclass(frozen=True)
class Segmentation(Task):
    """Outputs are logits (B, K, H, W).

    Answers are fused as "probabilities" (the log of their mean at each pixel) or "logits" (their mean). A person
    reads the share of pixels that have the class of the goal's labels.
    """

    name: ClassVar[str] = "segmentation"
    fusions: ClassVar[tuple[str, ...]] = ("probabilities", "logits")

    def check(self, outputs: Any, count: int) -> None:
        check_tensor(outputs, count, ("inputs", "classes", "height", "width"), self)

    def valid(self, outputs: Any) -> Tensor:
        """Return (B,) bool: rows without NaN or +inf; a class whose logit is -inf is one that is never answered."""
        return valid_logits(outputs)

    def _fused(self, answers: Sequence[Any], how: str) -> Tensor:
        return mean_of_probabilities(answers) if how == "probabilities" else torch.stack(list(answers)).mean(0)

    def prediction(self, outputs: Tensor, goal: Any) -> dict[str, Tensor]:
        """Return `pixel_accuracy` (B,) in [0, 1]."""
        return {"pixel_accuracy": goal.pixel_accuracy(outputs)}

    def details(self, outputs: Tensor, goal: Any) -> list[dict[str, list[int]]] | None:
        """Return for each image the classes that occur, each with its pixels: right, labelled, and predicted."""
        labels, ignore = getattr(goal, "labels", None), getattr(goal, "ignore", None)
        if labels is None or ignore is None:
            return None
        counts = confusion(outputs.argmax(1), labels, outputs.shape[1], ignore)
        right, labelled, predicted = counts.diagonal(dim1=1, dim2=2), counts.sum(2), counts.sum(1)
        triples = torch.stack((right, labelled, predicted), 2).tolist()
        return [{str(k): one for k, one in enumerate(row) if any(one)} for row in triples]

    @classmethod
    def sections(cls, results: Results) -> tuple[Section, ...]:
        """Return pixel accuracy and IoU of each class over all images, before and after the attacks."""
        states = [("none", results.details, None), *((one.text, one.details, one) for one in results.threats)]
        totals = [(text, _class_pixels(details)) for text, details, _ in states]
        classes = sorted({name for _, pixels in totals for name in pixels}, key=int)
        if not classes:
            return ()
        names = results.reference.get("class_names")
        rows = [(text, _accuracy(pixels), _mean_iou(pixels)) for text, pixels in totals]
        each = [
            (_class_name(names, one), *[_iou(pixels[one]) if one in pixels else None for _, pixels in totals])
            for one in classes
        ]
        measures = Column("pixel accuracy", "percent"), Column("mean IoU", "percent")
        whole = Table("Over all images", (Column("attack", "text"), *measures), rows)
        threats = [Column(text, "percent") for text, _ in totals]
        by_class = Table("IoU of each class", (Column("class", "text"), *threats), each)
        return (Section("Pixels", TEXT, (whole, by_class)),)


def _class_pixels(details: Sequence[Any]) -> dict[str, list[int]]:
    """The pixels of each class over all images: right, labelled, predicted."""
    total: dict[str, list[int]] = {}
    for one in details:
        for name, triple in (one or {}).items():
            total[name] = [a + b for a, b in zip(total.get(name, [0, 0, 0]), triple, strict=True)]
    return total


def _accuracy(pixels: dict[str, list[int]]) -> float | None:
    labelled = sum(triple[1] for triple in pixels.values())
    return sum(triple[0] for triple in pixels.values()) / labelled if labelled else None


def _iou(triple: list[int]) -> float:
    right, labelled, predicted = triple
    return right / (labelled + predicted - right)


def _mean_iou(pixels: dict[str, list[int]]) -> float | None:
    return sum(map(_iou, pixels.values())) / len(pixels) if pixels else None


def _class_name(names: Any, number: str) -> str:
    return str(names[int(number)]) if isinstance(names, Sequence) and int(number) < len(names) else f"class {number}"
