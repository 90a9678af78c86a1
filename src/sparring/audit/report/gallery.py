"""The pictures of the report: originals, perturbations and examples as PNG files in the run folder."""

from __future__ import annotations

import math
import sqlite3
from collections import defaultdict
from io import BytesIO

import numpy as np
from PIL import Image
from torch import Tensor

from ..records.database import Records
from ..records.example_files import read_row, write_atomically
from ..records.run_folder import writing
from .model import GalleryPart, PredictedClass

LIMIT = 18
FOLDER = "pictures"
QUESTION = """
SELECT result.*, name, label, label_source, clean_prediction, clean_confidence, original_file, original_row
FROM result JOIN sample ON sample.id = result.sample
WHERE success AND original_file IS NOT NULL ORDER BY sample, norm, eps, turn, result.seed
"""


def gallery(records: Records) -> list[GalleryPart]:
    """At most LIMIT images that fell: the first to each attack at each radius, then the second, ..."""
    groups: defaultdict[tuple[str, float, str], list[sqlite3.Row]] = defaultdict(list)
    for row in records.select(QUESTION):
        groups[row["norm"], row["eps"], row["attack"]].append(row)
    depth = max((len(rows) for rows in groups.values()), default=0)
    in_turn = [rows[i] for i in range(depth) for rows in groups.values() if i < len(rows)]
    chosen = sorted(in_turn[:LIMIT], key=lambda row: (row["sample"], row["norm"], row["eps"], row["turn"]))
    texts: dict[tuple[str, float], str] = {}
    texts |= {(one.norm, radius.eps): radius.text for one in records.plan.threats for radius in one.radii}
    return [gallery_part(records, row, number, texts) for number, row in enumerate(chosen)]


def gallery_part(records: Records, row: sqlite3.Row, number: int, texts: dict[tuple[str, float], str]) -> GalleryPart:
    norm, eps = row["norm"], row["eps"]
    if math.isinf(eps):
        eps = row[norm.lower()]
    eps_text = texts.get((norm, eps), f"{eps:.4g}")
    original = read_row(records.folder / row["original_file"], "originals", row["original_row"])
    example = read_row(records.folder / row["example_file"], "examples", row["example_row"])
    delta = example - original
    magnification = 0.5 / max(float(delta.abs().max()), 1e-6)
    stem = f"{FOLDER}/{number:02d}-{row['sample']:06d}-{norm.lower()}"
    pictures = {"original": original, "perturbation": 0.5 + magnification * delta, "adversarial": example}
    with writing(records.folder):
        for kind, picture in pictures.items():
            write_atomically(records.folder / f"{stem}-{kind}.png", png_bytes(picture))
    named = class_namer(records.facts.class_names)
    return GalleryPart(
        sample=row["sample"],
        name=row["name"],
        label=row["label"],
        label_name=named(row["label"]),
        label_source=row["label_source"],
        before=predicted_class(row["clean_prediction"], row["clean_confidence"], named),
        after=predicted_class(row["predicted"], row["confidence"], named),
        attack=row["attack"],
        norm=norm,
        eps=eps,
        eps_text=eps_text,
        sizes={name: row[name] for name in ("linf", "l2", "l1", "l0")},
        queries=row["first"],
        survives_uint8=bool(row["survives_uint8"]),
        original=f"{stem}-original.png",
        perturbation=f"{stem}-perturbation.png",
        adversarial=f"{stem}-adversarial.png",
        magnification=magnification,
        width=original.shape[2],
        height=original.shape[1],
    )


class ClassNames:
    """Class names, or numbers where there are none."""

    def __init__(self, given: tuple[str, ...] | None) -> None:
        self.given = given or ()

    def __call__(self, label: int) -> str:
        return self.given[label] if 0 <= label < len(self.given) else str(label)


def class_namer(given: tuple[str, ...] | None) -> ClassNames:
    return ClassNames(given)


def predicted_class(label: int, confidence: float, named: ClassNames) -> PredictedClass:
    return PredictedClass(label=label, name=named(label), confidence=confidence)


def png_bytes(image: Tensor) -> bytes:
    """(C, H, W) in [0, 1] as an 8-bit PNG: grey for one channel, else the first three as red, green, blue."""
    levels = (image.clamp(0, 1) * 255).round().to("cpu").numpy().astype(np.uint8)
    shown = levels[:3].transpose(1, 2, 0) if len(levels) >= 3 else levels[0]
    file = BytesIO()
    Image.fromarray(np.ascontiguousarray(shown)).save(file, "PNG")
    return file.getvalue()
