"""P7: detectors of adversarial examples on what a camera captured, of clean digits and of adversarial ones.

    python -m benchmarks.physical.detectors [--show]

Digits are enlarged, printed and captured in colour by the optimisation and the held-out family, and shrunk to 28 x 28
again, in gray. The detectors are fitted and their thresholds set on digital digits, at 5 % false alarms, as in
docs/defenses-results.md; then they are shown captured ones, and once more with a threshold set on captured digits.
--show measures nothing.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

import sparring as sp
from benchmarks.defenses.detection import FPR, numbers
from benchmarks.physical.destruction import stages
from benchmarks.physical.page import PAGE, text
from benchmarks.provenance import ROOT, provenance
from benchmarks.training.nets import digits
from sparring.attacks import PGD
from sparring.defenses.detection import (
    LID,
    DetectorEstimator,
    FeatureSqueezing,
    Mahalanobis,
    auroc,
    make_adversarial_set,
)
from sparring.intervals import clopper_pearson
from sparring.physical import held_out_family, optimization_family
from sparring.random import Key
from sparring.transforms import Transform
from sparring.zoo import load_model

RECORD = ROOT / "records" / "physical" / "detectors.json"
DETECTORS: dict[str, DetectorEstimator] = {
    "Xu: feature squeezing": FeatureSqueezing(),
    "Lee: Mahalanobis": Mahalanobis(),
    "Ma: LID": LID(),
}
EPS, STEPS, FIT, VALIDATION, TEST, LARGER = 0.2, 10, 300, 200, 100, 4


def captured(images: Tensor, parts: tuple[Transform, ...], seed: int) -> Tensor:
    """Digits as captured: enlarged, through printer and camera, and shrunk again."""
    seen = interpolate(images, scale_factor=LARGER, mode="bilinear").expand(-1, 3, -1, -1)
    key = Key(torch.arange(len(images)), seed)
    with torch.no_grad():
        for number, part in enumerate(parts):
            seen, _ = part.apply(seen, key.reseeded(number), None)
    return avg_pool2d(seen.mean(1, keepdim=True), LARGER)


def measure() -> dict[str, Any]:
    """Everything."""
    target = load_model("zoo:mnist-plain").target
    (images, labels), (test, right) = digits("mnist-train"), digits("mnist")
    attack = PGD(sp.Linf(EPS), steps=STEPS)
    made = {
        part: make_adversarial_set(attack, target, x, y, indices=torch.arange(len(x)) + first, engine=sp.Engine(200))
        for part, x, y, first in (("fit", images[:FIT], labels[:FIT], 0), ("test", test[:TEST], right[:TEST], 10**6))
    }
    adversarial = made["test"].examples
    deceiving = made["test"].fooling
    views = {
        "digital": lambda x: x,
        "optimisation family": lambda x: captured(x, stages(optimization_family()), 1),
        "held-out family": lambda x: captured(x, stages(held_out_family()), 1),
    }
    validation = images[10_000 : 10_000 + VALIDATION]
    seen = {view: (see(test[:TEST]), see(adversarial)) for view, see in views.items()}
    rows: list[dict[str, Any]] = []
    for view, (clean, attacked) in seen.items():
        wrong = target.predict(attacked).argmax(1) != right[:TEST]
        accurate = target.predict(clean).argmax(1) == right[:TEST]
        survived = clopper_pearson(int((wrong & deceiving).sum()), int(deceiving.sum()))
        right_still = clopper_pearson(int(accurate.sum()), TEST)
        rows.append({"view": view, "clean_right": numbers(right_still), "still_wrong": numbers(survived)})
    found = []
    for name, detector in DETECTORS.items():
        fitted = detector.fit(images[:FIT], made["fit"], target=target, labels=labels[:FIT])
        calibrated = fitted.calibrate(validation, FPR)
        for view, (clean, attacked) in seen.items():
            attempts = attacked[deceiving]
            keys = [Key(torch.arange(len(one)), 0) for one in (clean, attempts)]
            with torch.no_grad():
                again = fitted.calibrate(views[view](validation), FPR)
                now = [again.alarm(one, key) for one, key in zip((clean, attempts), keys, strict=True)]
                plain, alarms = calibrated.alarm(clean, keys[0]), calibrated.alarm(attempts, keys[1])
            found.append(
                {"detector": name, "view": view, "auroc": numbers(auroc(plain, alarms)),
                 "false_alarms": numbers(clopper_pearson(int((plain > 0).sum()), TEST)),
                 "detected": numbers(clopper_pearson(int((alarms > 0).sum()), len(alarms))),
                 "false_alarms_again": numbers(clopper_pearson(int((now[0] > 0).sum()), TEST)),
                 "detected_again": numbers(clopper_pearson(int((now[1] > 0).sum()), len(alarms)))}
            )  # fmt: skip
            print(name, view, found[-1], flush=True)
    return {
        "model": "zoo:mnist-plain", "attack": repr(attack), "fpr": FPR, "test": TEST,
        "deceiving": int(deceiving.sum()), "views": rows, "detectors": found,
    } | provenance("python -m benchmarks.physical.detectors", "cpu")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", action="store_true", help="measure nothing, write the page")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if not given.show:
        RECORD.write_text(json.dumps(measure(), indent=1) + "\n")
    PAGE.write_text(text())


if __name__ == "__main__":
    main()
