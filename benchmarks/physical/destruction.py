"""C19: what printing and photographing undoes of an attack (Kurakin et al. 2016), and what EOT wins back.

    python -m benchmarks.physical.destruction [--show]

FGSM, BIM, PGD, and PGD through the optimisation family (EOT) on the labelled ImageNet pictures that EfficientNet-Lite0
has right, at Linf 4, 8 and 16/255; then all of them, the clean pictures and random signs of the same size through the
held-out printer and camera at three severities. Whole pictures are printed, and fill the photograph. Examples are kept
in runs/physical/destruction/, so that a run goes on where it was stopped; --show measures nothing.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor

import sparring as sp
from benchmarks.physical.page import PAGE, text
from benchmarks.provenance import ROOT, provenance
from sparring.attacks import BIM, FGSM, PGD
from sparring.intervals import cluster_bootstrap
from sparring.physical import held_out_family, optimization_family
from sparring.physical.destruction import destruction_rate, values_of
from sparring.physical.recipes import eot_image
from sparring.random import Key
from sparring.storage import read_tensors, write_tensors
from sparring.targets import Pipeline
from sparring.transforms import Transform
from sparring.zoo import load_data, load_model

RECORD = ROOT / "records" / "physical" / "destruction.json"
RUNS = ROOT / "runs" / "physical" / "destruction"
MODEL, DATA = "zoo:efficientnet-lite0", "zoo:imagenet-20"
RADII, SEVERITIES = (4, 8, 16), (0.5, 1.0, 1.5)
PICTURES, STEPS, EOT_DRAWS, CAPTURES = 8, 10, 2, 2
ATTACKS = ("FGSM", "BIM", "PGD", "EOT", "noise")
FIRST_CAPTURE = 1 << 45


def stages(chain: Any) -> tuple[Transform, ...]:
    """Printer and camera of a chain: what a whole picture passes."""
    return tuple(stage for stage in (chain.printer, chain.camera) if stage is not None)


def pictures(target: sp.Classifier) -> tuple[Tensor, Tensor]:
    """The first pictures that the model has right, and their labels."""
    images, labels = load_data(DATA, load_model(MODEL)).tensors()
    assert labels is not None
    right = (target.predict(images).argmax(1) == labels).nonzero().squeeze(1)[:PICTURES]
    return images[right], labels[right]


def made(attack: str, levels: int, target: sp.Classifier, x: Tensor, labels: Tensor) -> tuple[Tensor, float]:
    """The examples of an attack, rounded to 8 bits, and the CPU seconds that they took; kept in runs/."""
    kept = RUNS / f"{attack}-{levels}.safetensors"
    if kept.exists():
        tensors, values = read_tensors(kept, "delete it")
        return tensors["examples"][: len(x)], values["seconds"]
    start, ball = time.process_time(), sp.Linf(levels / 255)
    goal, engine = sp.Misclassify(labels), sp.Engine(batch_size=4, confirmation_samples=1)
    if attack == "EOT":
        through = stages(optimization_family())
        found = eot_image(target, goal, x, through, ball, steps=STEPS, draws=EOT_DRAWS, engine=engine).examples
    elif attack == "noise":
        found = (x + Key(torch.arange(len(x)), 0).signs("noise", x.shape[1:]) * levels / 255).clamp(0, 1)
    else:
        plain = {"FGSM": FGSM(ball), "BIM": BIM(ball, steps=STEPS), "PGD": PGD(ball, steps=STEPS)}[attack]
        found = sp.run(plain, target, goal, x, keep="highest-loss", engine=engine).examples
    seconds = time.process_time() - start
    write_tensors(kept, {"examples": found.mul(255).round().div(255)}, {"seconds": seconds})
    print(attack, levels, f"{seconds:.0f} s", flush=True)
    return found.mul(255).round().div(255), seconds


def right_through(name: str, severity: float, target: sp.Classifier, x: Tensor, labels: Tensor) -> Tensor:
    """(N, captures) bool: whether each picture is right in each of its photographs; the same draws for all of a row."""
    kept = RUNS / f"seen-{name}-{severity:g}.safetensors"
    if kept.exists():
        return read_tensors(kept, "delete it")[0]["right"].bool()
    pipeline, key = Pipeline(target, *stages(held_out_family(severity=severity))), Key(torch.arange(len(x)), 0)
    columns = []
    with torch.no_grad(), target.frozen():
        for capture in range(CAPTURES):
            logits = pipeline(x, key.reseeded(FIRST_CAPTURE + capture))
            columns.append(logits.argmax(1) == labels)
    right = torch.stack(columns, 1)
    write_tensors(kept, {"right": right.to(torch.uint8)}, {})
    return right


def compared(one: Tensor, other: Tensor, clean: Tensor) -> dict[str, Any]:
    """How much more often `one` is wrong than `other` where the clean picture is right, all through the same captures.

    A bootstrap over pictures of the difference of two shares.
    """
    counted = clean.sum(1).numpy()
    gained = ((~one).float() - (~other).float()).mul(clean).sum(1).numpy()
    drawn = np.random.default_rng(0).multinomial(len(gained), np.full(len(gained), 1 / len(gained)), 2000)
    resampled = (drawn @ gained) / np.maximum(drawn @ counted, 1)
    low, high = np.quantile(resampled, (0.025, 0.975))
    return {"value": float(gained.sum() / counted.sum()), "low": float(low), "high": float(high), "of": len(gained)}


def measure() -> dict[str, Any]:
    """Everything."""
    target = load_model(MODEL).target
    assert isinstance(target, sp.Classifier)
    x, labels = pictures(target)
    RUNS.mkdir(parents=True, exist_ok=True)
    examples = {(a, levels): made(a, levels, target, x, labels) for levels in RADII for a in ATTACKS}
    clean = {severity: right_through("clean", severity, target, x, labels) for severity in SEVERITIES}
    rows, gains = [], []
    for levels in RADII:
        seen = {}
        for attack in ATTACKS:
            adversarial, seconds = examples[attack, levels]
            wrong = target.predict(adversarial).argmax(1) != labels
            for severity in SEVERITIES:
                through = right_through(f"{attack}-{levels}", severity, target, adversarial, labels)
                seen[attack, severity] = through
                counted = clean[severity]
                lost = cluster_bootstrap(
                    *((one).sum(1).double().numpy() for one in (~through & counted, counted)), np.arange(len(x))
                )
                rate = destruction_rate(torch.ones_like(wrong), ~wrong, counted, through)
                rows.append(
                    {"attack": attack, "eps": levels, "severity": severity, "seconds": seconds,
                     "digital": float(wrong.float().mean()),
                     "wrong_through": values_of(lost), **rate.values()}
                )  # fmt: skip
        for severity in SEVERITIES:
            gain = compared(seen["EOT", severity], seen["PGD", severity], clean[severity])
            gains.append({"eps": levels, "severity": severity, "eot_over_pgd": gain})
    return {
        "model": MODEL, "data": DATA, "pictures": len(x), "captures": CAPTURES, "steps": STEPS, "eot_draws": EOT_DRAWS,
        "clean": [{"severity": s, **values_of(cluster_bootstrap(
            right.sum(1).double().numpy(), torch.ones_like(right).sum(1).double().numpy(), np.arange(len(x))
        ))} for s, right in clean.items()],
        "rows": rows, "gains": gains,
        "optimised_through": [repr(stage) for stage in stages(optimization_family())],
        "held_out": [repr(stage) for stage in stages(held_out_family())],
    } | provenance("python -m benchmarks.physical.destruction", "cpu")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", action="store_true", help="measure nothing, write the page")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if not given.show:
        RECORD.parent.mkdir(parents=True, exist_ok=True)
        RECORD.write_text(json.dumps(measure(), indent=1) + "\n")
    PAGE.write_text(text())


if __name__ == "__main__":
    main()
