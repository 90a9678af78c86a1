"""Attacks on segmentation at equal passes: `python -m benchmarks.segmentation.attacks [NET ...]` (minutes a net).

NET: shapes-plain, shapes-robust (weights by `benchmarks.segmentation.train`), selfie-segmentation (from the zoo:
`sparring zoo get selfie-segmentation photos`). For each radius PGD, SegPGD and SEA have the same number of gradient
steps; of each image the example of the lowest pixel accuracy is kept. records/segmentation/attacks.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

import sparring as sp
from benchmarks.provenance import ROOT, provenance
from benchmarks.segmentation.shapes import CLASSES, WEIGHTS, Photographs, SegmentationNet, draw_scenes
from sparring.access import Keep
from sparring.attacks import PGD, SEA, SegPGD
from sparring.goals import CrossEntropy, MaskedCrossEntropy, MisclassifyPixels
from sparring.segmentation_metrics import confusion, mean_iou, pixel_accuracy, worst_mean_iou, worst_pixel_accuracy
from sparring.targets import Model
from sparring.tasks import Segmentation

RECORD = ROOT / "records" / "segmentation" / "attacks.json"
STEPS, IMAGES, SEED = 30, 16, 1_000_000  # steps of each of SEA's losses; no training step has the seed
RADII = {"shapes-plain": (1, 4), "shapes-robust": (4,), "selfie-segmentation": (1, 4)}
PORTRAITS = ("astronaut.png", "camera.png")


def shapes(name: str) -> tuple[Model, Tensor, Tensor]:
    """The net, images and labels that it was not trained on."""
    net = SegmentationNet()
    net.load_state_dict(load_file(WEIGHTS / f"{name}.safetensors"))
    images, labels = draw_scenes(Photographs.load(test=True), IMAGES, SEED)
    return Model(net.eval(), Segmentation(), name=name), images, labels


def selfie(name: str) -> tuple[Any, Tensor, Tensor]:
    """The segmenter of persons, two photographs of persons, and its own answers to them as labels."""
    model = sp.zoo.load_model(f"zoo:{name}")
    data = sp.load_data("zoo:photos", input=model.input)
    chunks = list(data.chunks(16))
    names = [one for chunk in chunks for one in chunk.names]
    images = torch.cat([chunk.images for chunk in chunks])[[names.index(one) for one in PORTRAITS]]
    return model.target, images, model.target.predict(images).argmax(1)


def measured(target: Any, images: Tensor, labels: Tensor, classes: int, radius: int) -> list[dict[str, Any]]:
    """Pixel accuracy and mean IoU before and after each attack."""
    ball, total = sp.Linf(radius / 255), 3 * STEPS
    scaled = MaskedCrossEntropy(won_weight=0.5)  # all pixels alike
    goal = MisclassifyPixels(labels, 1.0, loss=scaled, margin_in="parts")

    def counts(x: Tensor) -> Tensor:
        return confusion(target.predict(x).argmax(1), labels, classes)

    def attacked(attack: Any, goal: MisclassifyPixels = goal) -> Tensor:
        outcome = sp.run(attack, target, goal, images, keep=Keep.HIGHEST_MARGIN)
        return counts(outcome.examples)

    def row(name: str, passes: int, found: Tensor) -> dict[str, Any]:
        return told(name, passes, pixel_accuracy(found), mean_iou(found))

    noise = torch.randint(2, images.shape, generator=torch.Generator().manual_seed(0)) * 2.0 - 1
    plain = MisclassifyPixels(labels, 1.0, loss=CrossEntropy(), margin_in="parts")
    rows = [
        row("none", 0, counts(images)),
        row("random signs", 0, counts((images + radius / 255 * noise).clamp(0, 1))),
        row("PGD, cross-entropy", total, attacked(PGD(ball, total), plain)),
        row("PGD, scaled cross-entropy", total, attacked(PGD(ball, total))),
        row("SegPGD", total, attacked(SegPGD(ball, total))),
    ]
    parts = [attacked(part) for part in SEA(ball, STEPS).parts]
    names = ("APGD, masked cross-entropy", "APGD, masked and balanced", "APGD, Jensen-Shannon")
    rows += [row(name, STEPS, one) for name, one in zip(names, parts, strict=True)]
    together = torch.stack(parts)
    rows.append(told("SEA", total, worst_pixel_accuracy(together).value, worst_mean_iou(together).value))
    return rows


def told(name: str, passes: int, accuracy: float, miou: float) -> dict[str, Any]:
    """A row of the record, printed."""
    print(f"  {name}: {accuracy:.3f} {miou:.3f}", flush=True)
    return {"attack": name, "steps": passes, "pixel_accuracy": accuracy, "mean_iou": miou}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("net", nargs="*", default=list(RADII))
    record: dict[str, Any] = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    for name in parser.parse_args().net:
        load: Callable[[str], tuple[Any, Tensor, Tensor]] = selfie if name == "selfie-segmentation" else shapes
        target, images, labels = load(name)
        classes = 2 if name == "selfie-segmentation" else len(CLASSES)
        radii = {}
        for radius in RADII[name]:
            print(f"{name} at {radius}/255", flush=True)
            radii[str(radius)] = measured(target, images, labels, classes, radius)
        command = f"python -m benchmarks.segmentation.attacks {name}"
        record[name] = {"images": len(images), "radii": radii, **provenance(command, "cpu")}
        RECORD.parent.mkdir(parents=True, exist_ok=True)
        RECORD.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
