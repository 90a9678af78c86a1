"""The pictures of the report: originals, perturbations and examples as PNG files in the run folder."""

from __future__ import annotations

import math
import sqlite3
from collections import defaultdict
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from ...files import write_atomically
from ..evaluation.prediction_columns import Kind, PredictionColumn, read_prediction
from ..records.database import Records
from ..records.example_files import read_row
from ..records.run_folder import report_writing, writing
from .format import grouped, number, percent
from .model import GalleryPart, MaskPart, PredictedValue
from .pictures import picture as read_picture

LIMIT = 18
FOLDER = "pictures"
MASK = f"{FOLDER}/mask.png"
IMAGES = "images"  # the word of `Images` for what it holds
SHARES = ("confidence", "pixel_accuracy")  # columns that are shares, and read as percent
QUESTION = """
SELECT result.*, name, label, label_source, clean_prediction, original_file, original_row
FROM result JOIN sample ON sample.id = result.sample
WHERE success AND original_file IS NOT NULL ORDER BY sample, norm, eps, turn, result.seed
"""


def gallery(records: Records, out: Path) -> list[GalleryPart]:
    """At most LIMIT images that fell: the first to each attack at each radius, then the second, ..."""
    groups: defaultdict[tuple[str, float, str], list[sqlite3.Row]] = defaultdict(list)
    for row in records.select(QUESTION):
        groups[row["norm"], row["eps"], row["attack"]].append(row)
    depth = max((len(rows) for rows in groups.values()), default=0)
    in_turn = [rows[i] for i in range(depth) for rows in groups.values() if i < len(rows)]
    chosen = sorted(in_turn[:LIMIT], key=lambda row: (row["sample"], row["norm"], row["eps"], row["turn"]))
    texts: dict[tuple[str, float], str] = {}
    texts |= {(one.norm, radius.eps): radius.text for one in records.plan.threats for radius in one.radii}
    return [gallery_part(records, row, place, texts, out) for place, row in enumerate(chosen)]


def gallery_part(
    records: Records, row: sqlite3.Row, place: int, texts: dict[tuple[str, float], str], out: Path
) -> GalleryPart:
    """Return the gallery's entry for one example; of images, write its pictures into the folder `out`.

    `place` numbers the picture files. `texts` gives a radius as the user wrote it; an infinite radius, of a search
    for the smallest example, is shown as the example's own size.
    """
    norm, eps, facts = row["norm"], row["eps"], records.facts
    if math.isinf(eps):
        eps = row[norm.lower()]
    named = class_namer(facts.class_names)
    rounded = row["survives_uint8"]
    return GalleryPart(
        sample=row["sample"],
        name=row["name"],
        label=row["label"],
        label_name=None if row["label"] is None else named(row["label"]),
        label_source=row["label_source"],
        before=predicted_values(facts.columns, row["clean_prediction"], named),
        after=predicted_values(facts.columns, row["prediction"], named),
        attack=row["attack"],
        norm=norm,
        eps=eps,
        eps_text=texts.get((norm, eps), f"{eps:.4g}"),
        sizes={name: row[name] for name in ("linf", "l2", "l1", "l0")},
        queries=row["first"],
        survives_uint8=None if rounded is None else bool(rounded),
        **(write_pictures(records, row, place, out) if facts.inputs == IMAGES else {}),
    )


def write_pictures(records: Records, row: sqlite3.Row, place: int, out: Path) -> dict[str, Any]:
    """Write original, perturbation and example as PNG files; return their names, magnification and size."""
    original = read_row(records.folder / row["original_file"], "originals", row["original_row"])
    example = read_row(records.folder / row["example_file"], "examples", row["example_row"])
    delta = example - original
    magnification = 0.5 / max(float(delta.abs().max()), 1e-6)
    stem = f"{FOLDER}/{place:02d}-{row['sample']:06d}-{row['norm'].lower()}"
    pictures = {"original": original, "perturbation": 0.5 + magnification * delta, "adversarial": example}
    with report_writing(out):
        for kind, picture in pictures.items():
            write_atomically(out / f"{stem}-{kind}.png", png_bytes(picture))
    names = {kind: f"{stem}-{kind}.png" for kind in pictures}
    return names | {"magnification": magnification, "width": original.shape[2], "height": original.shape[1]}


def write_mask_picture(folder: Path, mask: Tensor | None) -> None:
    """Write the one mask (1, C, H, W) of all images as a PNG into the run folder; nothing where each has its own."""
    if mask is not None and len(mask) == 1:
        with writing(folder, begun=False):
            write_atomically(folder / MASK, png_bytes(mask[0].float()))


def mask_part(records: Records, out: Path) -> MaskPart | None:
    """Return what the report says of the mask, and copy its picture to `out`; None where there is none."""
    mask = records.facts.mask
    if mask is None:
        return None
    there = (records.folder / MASK).is_file()
    if there and out.resolve() != records.folder.resolve():
        with report_writing(out):
            write_atomically(out / MASK, read_picture(records.folder, MASK))
    return MaskPart(share=mask.share, each=mask.each, picture=MASK if there else None)


class ClassNames:
    """Class names, or numbers where there are none."""

    def __init__(self, given: tuple[str, ...] | None) -> None:
        self.given = given or ()

    def __call__(self, label: int) -> str:
        return self.given[label] if 0 <= label < len(self.given) else str(label)


def class_namer(given: tuple[str, ...] | None) -> ClassNames:
    """Return a function from a class to its name, which gives the number where the class has no name."""
    return ClassNames(given)


def predicted_values(
    columns: tuple[PredictionColumn, ...], prediction: str, named: ClassNames
) -> dict[str, PredictedValue]:
    """Return what the task says of one answer, by name."""
    found = read_prediction(prediction)
    values = {column.name: (column.kind, found.get(column.name)) for column in columns}
    return {
        name: PredictedValue(kind=kind, value=value, text=value_text(name, kind, value, named))
        for name, (kind, value) in values.items()
    }


def value_text(name: str, kind: Kind, value: Any, named: ClassNames) -> str:
    """Return a value as a reader sees it."""
    if value is None:
        return "no number"
    if kind == "class":
        return named(value)
    if kind == "flag":
        return "yes" if value else "no"
    if kind == "count":
        return grouped(value)
    return percent(value) if name in SHARES else f"{value:.4g}"


def mean_text(name: str, kind: Kind, mean: float) -> str:
    """Return the mean of many values as a reader sees it; of flags the share that is true."""
    return percent(mean) if kind == "flag" or name in SHARES else number(mean)


def png_bytes(image: Tensor) -> bytes:
    """(C, H, W) in [0, 1] as an 8-bit PNG: grey for one or two channels, else the first three as red, green, blue."""
    levels = (image.clamp(0, 1) * 255).round().to("cpu").numpy().astype(np.uint8)
    shown = levels[:3].transpose(1, 2, 0) if len(levels) >= 3 else levels[0]
    file = BytesIO()
    Image.fromarray(np.ascontiguousarray(shown)).save(file, "PNG")
    return file.getvalue()
