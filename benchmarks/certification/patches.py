"""Certified patches on digits: `python -m benchmarks.certification.patches`.

MNIST's first test digits, patches of 2 and 5 pixels (0.5 % and 3.2 % of the image): PatchCleanser around
`zoo:mnist-plain` and around a net that learned under masks; de-randomised smoothing, with bands of four columns, around
a net that learned from them. Writes records/certification/patches.json. A few minutes of one CPU core.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import torch

from benchmarks.provenance import ROOT, provenance
from benchmarks.training.nets import digits
from sparring.defenses.certification import DerandomizedSmoothing, PatchCertificates, PatchCleanser
from sparring.defenses.training import (
    AblatedTraining,
    Averaging,
    MaskedTraining,
    Objective,
    Optimizer,
    TrainingConfig,
    Validation,
    train,
)
from sparring.targets import Classifier
from sparring.zoo import load_model
from sparring.zoo.mnist_net import MnistNet

DIGITS, PATCHES, BAND, MASKS, FILL = 100, (2, 5), 4, 4, 0.0  # masked pixels are background
CONFIG = TrainingConfig(
    epochs=20, optimizer=Optimizer(name="adam", lr=2e-3, weight_decay=0.0), averaging=Averaging(decay=0.998)
)


def trained(objective: Objective) -> Classifier:
    """A digit net that learned from 10,000 digits."""
    images, labels = digits("mnist-train")
    torch.manual_seed(0)
    target = Classifier(MnistNet(), classes=10)
    train(target, (images[:10_050], labels[:10_050]), objective, config=CONFIG, validation=Validation(val_size=50))
    return target


def main() -> int:
    images, labels = (part[:DIGITS] for part in digits("mnist"))
    rows: list[dict[str, Any]] = []

    def note(name: str, patch: int, found: PatchCertificates, began: float) -> None:
        rows.append(
            {
                "defence": name,
                "patch": patch,
                "clean": float((found.predicted == labels).double().mean()),
                "certified": found.certified_accuracy(labels),
                "seconds_per_digit": round((time.process_time() - began) / DIGITS, 3),
            }
        )
        print(rows[-1], flush=True)

    plain = load_model("zoo:mnist-plain").target
    banded = trained(AblatedTraining(BAND, PATCHES[-1]))
    for patch in PATCHES:
        masked = trained(MaskedTraining(patch, MASKS, FILL))
        for name, target in (("PatchCleanser, plain net", plain), ("PatchCleanser, masked training", masked)):
            began = time.process_time()
            note(name, patch, PatchCleanser(target, patch, masks_per_axis=MASKS, fill=FILL).certify(images), began)
        for how in ("counting", "place"):
            began = time.process_time()
            found = DerandomizedSmoothing(banded, BAND).certify(images, patch, how)
            note(f"bands of {BAND} columns, {how}", patch, found, began)
    made = provenance("python -m benchmarks.certification.patches", "cpu")
    out = ROOT / "records" / "certification" / "patches.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"made": made, "digits": DIGITS, "masks_per_axis": MASKS, "rows": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
