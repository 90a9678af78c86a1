"""A patch on a person that hides the person from a detector (P5; Thys et al. 2019, arXiv:1904.08653).

    python -m benchmarks.detection.person_patch [--detector nanodet] [--steps 60] [--scenes 8]

The photographs are brought to 416 x 416 with their proportions kept. The patch has a side of 0.2 of the diagonal of the
person's box. It is optimised through the chain that prints, places and captures (`optimization_family`) on the persons
of four photographs, by the objective "cls" (the detectors have no objectness), and judged on all persons, apart for
those whose photographs it has seen: pasted as it is, through the same chain, and through a chain of other mechanisms
(`held_out_family`: thin-plate spline as of cloth, lens, sensor). Beside it always a gray patch, noise, and a cut-out of
a photograph, through the same draws. The victim's parameters and buffers are hashed before and after.

`dpatch` (Liu et al. 2019, arXiv:1806.02299) lies in a corner, apart from the persons, all of which are to vanish; it is
optimised as it is pasted. `robust-dpatch` (Lee & Kolter 2019, arXiv:1906.11897) is the same through the chain.

The record is records/detection/person_patch.json. Twenty minutes on one CPU core.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

import sparring as sp
from benchmarks.detection.photographs import NAMES, PERSON, detector, photographs
from benchmarks.provenance import ROOT, provenance
from sparring.attacks import PGD
from sparring.detection_metrics import average_precision, detection_rates
from sparring.goals import FoolScenes, Vanish
from sparring.intervals import wilson
from sparring.module_identity import module_identity
from sparring.physical import BoxAnchor, PhysicalChain, Planar, held_out_family, optimization_family
from sparring.random import Key
from sparring.storage import read_tensors, write_tensors
from sparring.targets import ObjectDetector, OverScenes
from sparring.tasks import Objects

RECORD, RUNS = ROOT / "records" / "detection" / "person_patch.json", ROOT / "runs" / "detection"
TRAINED = ("sample1", "sample2", "sample4", "sample5")
SIDE, PIXELS, DRAWS = 416, 48, 2
ON_PERSON = BoxAnchor(0.2, "diagonal", (0.0, -0.05))
IN_CORNER = BoxAnchor(0.28, "width", (-0.34, 0.34))
LOW = 0.01


class Scenes:
    """One scene for each person: the photograph, the box of the person, and all persons of the photograph."""

    def __init__(self) -> None:
        images, boxes, everyone, seen = [], [], [], []
        photos = photographs()
        most = max(int(photo.persons.counts()) for photo in photos)
        for photo in photos:
            height, width = photo.image.shape[2:]
            ratio = SIDE / max(height, width)
            inner = (round(height * ratio), round(width * ratio))
            small = F.interpolate(photo.image, inner, mode="bilinear", antialias=True)
            top, left = (SIDE - inner[0]) // 2, (SIDE - inner[1]) // 2
            square = F.pad(
                small.clamp(0, 1), (left, SIDE - inner[1] - left, top, SIDE - inner[0] - top), value=114 / 255
            )
            there = photo.persons.boxes[0] * ratio + torch.tensor([left, top, left, top])
            padded = torch.cat((there, there.new_zeros(most - len(there), 4)))
            for box in there:
                images.append(square)
                boxes.append(box)
                everyone.append((padded, torch.arange(most) < len(there)))
                seen.append(photo.name in TRAINED)
        self.images, self.boxes, self.seen = torch.cat(images), torch.stack(boxes), torch.tensor(seen)
        self.persons = Objects(
            torch.stack([one for one, _ in everyone]),
            torch.full((len(boxes), most), PERSON),
            torch.stack([one for _, one in everyone]),
        )

    def one_person(self) -> Objects:
        """The person of each scene."""
        count = len(self.boxes)
        return Objects(self.boxes[:, None], torch.zeros(count, 1).long(), torch.ones(count, 1).bool())


def chains(variant: str) -> dict[str, PhysicalChain]:
    """The chains by name: pasted as it is, that of the optimisation, and that of the verdict."""
    anchor = ON_PERSON if variant == "person" else IN_CORNER
    pasted = PhysicalChain(printer=None, placement=Planar(anchor=anchor).at_severity(0))
    return {"pasted": pasted, "same family": optimization_family(anchor), "held out": held_out_family(anchor)}


def context(scenes: Scenes, variant: str) -> sp.Scene:
    return sp.Scene(images=scenes.images, boxes=scenes.boxes if variant == "person" else None)


def controls(patch: Tensor) -> dict[str, Tensor]:
    """The patch and what it is compared with, (1, 3, h, w) each."""
    noise = torch.rand(patch.shape, generator=torch.Generator().manual_seed(1))
    (rocket,) = [photo.image for photo in photographs(("astronaut",))]
    natural = F.interpolate(rocket[:, :, :200, 380:], patch.shape[2:], mode="bilinear", antialias=True).clamp(0, 1)
    return {"patch": patch, "gray": torch.full_like(patch, 0.5), "noise": noise, "natural": natural}


def optimised(variant: str, target: ObjectDetector, scenes: Scenes, steps: int, per_step: int) -> Tensor:
    """Return the patch (1, 3, h, w), rounded to 8 bits; kept in runs/."""
    kept = RUNS / f"{variant}-{target.name}-{steps}-{per_step}.safetensors"
    if not kept.exists():
        chosen = torch.where(scenes.seen)[0]
        chain = chains(variant)["pasted" if variant == "dpatch" else "same family"]
        everyone = scenes.one_person() if variant == "person" else scenes.persons
        at = target.task.score_threshold
        goal = sp.rows.take(Vanish.all_of(everyone, iou=0.5, score_threshold=at, objective="cls"), chosen)
        placed = sp.Pipeline(target, chain)
        over = OverScenes(placed, goal, sp.rows.take(context(scenes, variant), chosen), per_step)
        attack = PGD(sp.Linf(1.0), steps=steps, step_size=2.0 / steps)
        start = torch.full((1, 3, PIXELS, PIXELS), 0.5)
        outcome = sp.run(attack, over, FoolScenes(torch.zeros(1), 1.0), start, keep="highest-loss")
        RUNS.mkdir(parents=True, exist_ok=True)
        write_tensors(kept, {"patch": (outcome.examples * 255).round() / 255}, {})
    return read_tensors(kept, "")[0]["patch"]


def judged(target: ObjectDetector, variant: str, chain: PhysicalChain | None, patch: Tensor, scenes: Scenes) -> Any:
    """What became of the persons in all scenes, `DRAWS` times each."""
    found: list[Objects] = []
    truth = scenes.one_person() if variant == "person" else scenes.persons
    draws = DRAWS if chain is not None and chain.stochastic else 1
    for draw in range(draws):
        images = scenes.images
        if chain is not None:
            key = Key(torch.arange(len(images)), 1000 + draw)
            with torch.no_grad():
                images = chain.apply(patch.expand(len(images), -1, -1, -1), key, context(scenes, variant))[0]
        parts = [target.detect(part, LOW) for part in images.split(4)]
        found.append(sp.rows.join(parts))
    at, lost = target.task.score_threshold, []
    for one in found:
        rows = [
            detection_rates(sp.rows.take(one, slice(k, k + 1)), sp.rows.take(truth, slice(k, k + 1)), (0.5,), (at,))[0]
            for k in range(len(scenes.images))
        ]
        lost.append(torch.tensor([row.disappeared + row.mislabelled for row in rows]))
    missed = torch.stack(lost)  # draws, scenes
    there = truth.present.sum(1)
    result = {}
    for word, rows in (("seen", scenes.seen), ("new", ~scenes.seen)):
        count, total = int(missed[:, rows].sum()), int(there[rows].sum()) * draws
        everyone = sp.rows.take(scenes.persons, rows)
        precision = [
            average_precision(sp.rows.take(one.of_class(PERSON), rows), everyone, (0.5,)).of_class(PERSON)
            for one in found
        ]
        result[word] = {
            "missed": count, "of": total, "interval": wilson(count, total), "ap50": sum(precision) / len(precision)
        }  # fmt: skip
    return result


def measure(variant: str, name: str, steps: int, per_step: int) -> dict[str, Any]:
    target, scenes = detector(name), Scenes()
    before = str(module_identity(target.model)[-1]), _digest(target)
    begun = time.perf_counter()
    patch = optimised(variant, target, scenes, steps, per_step)
    entry: dict[str, Any] = {
        "steps": steps,
        "scenes_per_step": per_step,
        "persons": {"seen": int(scenes.seen.sum()), "new": int((~scenes.seen).sum())},
        "without": judged(target, variant, None, patch, scenes),
        "judged": {
            word: {artefact: judged(target, variant, chain, one, scenes) for artefact, one in controls(patch).items()}
            for word, chain in chains(variant).items()
        },
    }
    if variant == "person":
        (other,) = [detector(one) for one in NAMES if one != name]
        chain = chains(variant)["held out"]
        entry["transfer"] = {
            other.name: {
                artefact: judged(other, variant, chain, one, scenes)
                for artefact, one in controls(patch).items()
                if artefact in ("patch", "gray")
            }
        }
    entry["seconds"] = round(time.perf_counter() - begun)
    entry["victim_unchanged"] = before == (str(module_identity(target.model)[-1]), _digest(target))
    options = f"--detector {name} --variant {variant} --steps {steps} --scenes {per_step}"
    return entry | provenance(f"python -m benchmarks.detection.person_patch {options}", "cpu")


def _digest(target: ObjectDetector) -> str:
    """SHA-256 of all parameters and buffers."""
    total = hashlib.sha256()
    for name, tensor in sorted(target.model.state_dict().items()):
        total.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return total.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detector", default="nanodet", choices=NAMES)
    parser.add_argument("--variant", default="person", choices=("person", "dpatch", "robust-dpatch"))
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--scenes", type=int, default=8)
    given = parser.parse_args()
    torch.set_num_threads(1)
    entry = measure(given.variant, given.detector, given.steps, given.scenes)
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    record[f"{given.variant} {given.detector}"] = entry
    RECORD.parent.mkdir(parents=True, exist_ok=True)
    RECORD.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
