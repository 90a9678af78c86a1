"""What the report of an audit shows of a detector: tables of rates before and after, pictures with boxes drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..detection_metrics import COCO_THRESHOLDS, Objects, average_precision, detection_rates, objects_of
from ..intervals import wilson
from .report import Box, Cell, Column, Picture, Results, Section, Strip, Table

OVERLAP = 0.5
COLUMNS = (
    Column("", "text"),
    Column("objects", "count"),
    Column("AP50", "percent"),
    Column("AP", "percent"),
    Column("disappeared", "rate"),
    Column("mislabelled", "rate"),
    Column("found elsewhere, per picture", "number"),
)
TEXT = (
    "An object has disappeared where no detection overlaps it by one half, and is mislabelled where only detections of "
    "other classes do; detections count from a score of {threshold:g}. Found elsewhere are detections that overlap no "
    "annotated object, which may be real objects that nobody annotated: compare with the row before the attacks. "
    "Average precision (AP50: at an overlap of 0.5; AP: the mean from 0.5 to 0.95, as COCO has it) takes all "
    "detections from a score of 0.05. After an attack each picture counts as its example with the highest margin, or "
    "as it was where no attack succeeded."
)


def detection_sections(results: Results) -> tuple[Section, ...]:
    """Return the section of a detector; none where no object was recorded."""
    before = [row for row in results.details if row is not None]
    if len(before) < len(results.details) or not any(row["truth"] for row in before):
        return ()
    threshold = before[0]["score_threshold"]
    rows: list[Sequence[Cell]] = [("before the attacks", *_rates(before, threshold))]
    rows += [(threat.text, *_rates(threat.details, threshold)) for threat in results.threats]
    table = Table("What became of the objects", COLUMNS, rows)
    return (Section("Objects", TEXT.format(threshold=threshold), tables=(table,), strips=_strips(results, threshold)),)


def _rates(details: Sequence[Any], threshold: float) -> tuple[Cell, ...]:
    """Return the cells of a row behind its name."""
    found, truth = _objects(details)
    (rates,) = detection_rates(found, truth, (OVERLAP,), (threshold,))
    precision = average_precision(found, truth, COCO_THRESHOLDS)

    def share(count: int) -> Cell:
        return None if not rates.objects else (count / rates.objects, *wilson(count, rates.objects))

    return (
        rates.objects, precision.at(OVERLAP), precision.mean, share(rates.disappeared), share(rates.mislabelled),
        rates.hallucinations_per_image,
    )  # fmt: skip


def _objects(details: Sequence[Any]) -> tuple[Objects, Objects]:
    """Return what was found, and the truth, of recorded rows; where classes are not told apart all of them are -1."""
    blind = any(entry[4] < 0 for row in details for entry in row["truth"])

    def numbers(word: str, first: int, last: int) -> list[torch.Tensor]:
        width = last - first
        return [
            torch.tensor([entry[first:last] for entry in row[word]], dtype=torch.float64).reshape(-1, width)
            for row in details
        ]

    def kinds(word: str) -> list[torch.Tensor]:
        return [one[:, 0].long().clamp_max(-1 if blind else 2**31) for one in numbers(word, 4, 5)]

    scores = [one[:, 0] for one in numbers("found", 5, 6)]
    found = objects_of(numbers("found", 0, 4), kinds("found"), scores, "detections")
    return found, objects_of(numbers("truth", 0, 4), kinds("truth"))


def _strips(results: Results, threshold: float) -> tuple[Strip, ...]:
    """Return the pictures that are kept, before and after, with what was found drawn on them."""
    if results.original is None or results.example is None:
        return ()
    names = str(results.reference.get("class_names", "")).split("\n")
    strips = []
    for place, (threat, shown) in enumerate(zip(results.threats, results.shown, strict=True)):
        for sample in shown:
            before, after = results.details[sample], threat.details[sample]
            pictures = (
                Picture("before", results.original(sample), _boxes(before, threshold, names)),
                Picture("after", results.example(place, sample), _boxes(after, threshold, names)),
            )
            strips.append(Strip(f"{results.names[sample]}, {threat.text}", pictures))
    return tuple(strips)


def _boxes(row: Any, threshold: float, names: Sequence[str]) -> tuple[Box, ...]:
    """Return the objects as dashed boxes, and the detections with class and score."""
    truth = [Box(x1, y1, x2, y2, dashed=True) for x1, y1, x2, y2, _ in row["truth"]]
    found = []
    for x1, y1, x2, y2, kind, score in row["found"]:
        if score >= threshold:
            word = names[kind] if kind < len(names) and names[kind] else f"class {kind}"
            found.append(Box(x1, y1, x2, y2, f"{word} {score:.2f}"))
    return (*truth, *found)
