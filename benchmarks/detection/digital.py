"""Persons in eight photographs under attacks on their pixels (P5): PGD at 2, 4 and 8/255, and Square by queries.

    python -m benchmarks.detection.digital pgd centernet nanodet
    python -m benchmarks.detection.digital square nanodet --photographs astronaut camera

The goal is that no anchor on any person of the picture is a person any more (`Vanish`, overlap 0.3, at the detector's
own threshold). Examples are rounded to 8 bits and judged after the detector's own suppression; random signs of the same
size are the control. Each attack and detector has its entry in records/detection/digital.json, and examples are kept in
runs/detection, so that a run that was stopped goes on. PGD takes about five minutes a detector on one CPU core; Square
asks up to 5,000 times about each picture, which takes an hour.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import torch
from torch import Tensor

import sparring as sp
from benchmarks.detection.photographs import NAMES, PERSON, Photograph, detector, photographs, rounded
from benchmarks.provenance import ROOT, provenance
from sparring.attacks import PGD, Square
from sparring.detection_metrics import average_precision, detection_rates
from sparring.goals import Vanish
from sparring.storage import read_tensors, write_tensors
from sparring.targets import ObjectDetector
from sparring.tasks import Objects, objects_of

RECORD, RUNS = ROOT / "records" / "detection" / "digital.json", ROOT / "runs" / "detection"
RADII, STEPS, QUERIES = (2, 4, 8), 20, 5000
LOW = 0.01  # the score from which detections enter the average precision


def goal_of(target: ObjectDetector, photograph: Photograph) -> Vanish:
    return Vanish.all_of(photograph.persons, score_threshold=target.task.score_threshold)


def stacked(rows: list[Objects]) -> Objects:
    """One record of several with one image each, which may have different numbers of entries."""

    def parts(field: str) -> list[Tensor]:
        return [getattr(row, field)[0][row.present[0]] for row in rows]

    scores = None if rows[0].scores is None else parts("scores")
    return objects_of(parts("boxes"), parts("classes"), scores, rows[0].source)


def judged(target: ObjectDetector, photos: list[Photograph], images: list[Tensor]) -> dict[str, Any]:
    """What the detector finds of the persons in images of 8 bits."""
    truth = stacked([photo.persons for photo in photos])
    found = stacked([target.detect(image, LOW) for image in images])
    at = target.task.score_threshold
    persons = found.of_class(PERSON)
    rates = detection_rates(found, truth, (0.5, 0.3), (at,))
    return {
        "persons": int(truth.counts().sum()),
        "ap50": average_precision(persons, truth, (0.5,)).of_class(PERSON),
        "detections_of_persons": int((persons.present & (persons.scores >= at)).sum()),  # type: ignore[operator]
        "per_picture": ((persons.present & (persons.scores >= at)).sum(1)).tolist(),  # type: ignore[operator]
        "rates": [
            {
                "iou": one.iou_threshold, "score": one.score_threshold, "found": one.found,
                "mislabelled": one.mislabelled, "disappeared": one.disappeared,
                "interval": one.disappearance_interval(),
                "hallucinated": one.hallucinated,
            }
            for one in rates
        ],
    }  # fmt: skip


def attacked(kind: str, name: str, target: ObjectDetector, photo: Photograph, radius: int) -> dict[str, Any]:
    """Attack one photograph, or read what an earlier run made of it."""
    kept = RUNS / f"{kind}-{name}-{photo.name}-{radius}.safetensors"
    if not kept.exists():
        ball = sp.Linf(radius / 255)
        attack = PGD(ball, steps=STEPS) if kind == "pgd" else Square(ball, n_queries=QUERIES)
        begun = time.perf_counter()
        keep = "highest-margin" if kind == "pgd" else "first"
        outcome = sp.run(attack, target, goal_of(target, photo), photo.image, keep=keep)
        RUNS.mkdir(parents=True, exist_ok=True)
        counts = torch.tensor([int(outcome.passes.forwards.sum()), int(outcome.queries_to_success[0])])
        seconds = torch.tensor(time.perf_counter() - begun)
        write_tensors(kept, {"example": outcome.examples, "passes": counts, "seconds": seconds}, {})
    held, _ = read_tensors(kept, "")
    print(kind, name, photo.name, radius, held["passes"].tolist(), f"{float(held['seconds']):.0f} s", flush=True)
    return held


def measure(kind: str, name: str, photos: list[Photograph], radii: tuple[int, ...]) -> dict[str, Any]:
    """Everything about one detector under one kind of attack."""
    target = detector(name)
    entry: dict[str, Any] = {
        "photographs": [photo.name for photo in photos],
        "steps": STEPS if kind == "pgd" else QUERIES,
        "clean": judged(target, photos, [photo.image for photo in photos]),
        "radii": {},
    }
    for radius in radii:
        made = [attacked(kind, name, target, photo, radius) for photo in photos]
        examples = [rounded(held["example"]) for held in made]
        signs = [
            (
                photo.image
                + radius / 255 * torch.randn(photo.image.shape, generator=torch.Generator().manual_seed(0)).sign()
            )
            for photo in photos
        ]
        won = [
            bool(goal_of(target, photo).margin(target.predict(one)) > 0)
            for photo, one in zip(photos, examples, strict=True)
        ]
        others = {other: judged(detector(other), photos, examples) for other in NAMES if other != name}
        entry["radii"][str(radius)] = {
            "success_after_rounding": won,
            "queries_to_success": [int(held["passes"][1]) for held in made],
            "seconds": [round(float(held["seconds"]), 1) for held in made],
            "attacked": judged(target, photos, examples),
            "transferred": others,
            "random_signs": judged(target, photos, [rounded(one.clamp(0, 1)) for one in signs]),
        }
    options = f"--photographs {' '.join(photo.name for photo in photos)} --radii {' '.join(map(str, radii))}"
    return entry | provenance(f"python -m benchmarks.detection.digital {kind} {name} {options}", "cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("pgd", "square"))
    parser.add_argument("names", nargs="*", default=NAMES, metavar="NAME")
    parser.add_argument("--photographs", nargs="*")
    parser.add_argument("--radii", nargs="*", type=int, help="in 255ths; of PGD 2 4 8, of Square 8")
    given = parser.parse_args()
    torch.set_num_threads(1)
    photos = photographs(None if given.photographs is None else tuple(given.photographs))
    for name in given.names:
        usual = RADII if given.kind == "pgd" else RADII[-1:]
        entry = measure(given.kind, name, photos, tuple(given.radii or usual))
        record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
        record[f"{given.kind} {name}"] = entry
        RECORD.parent.mkdir(parents=True, exist_ok=True)
        RECORD.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
