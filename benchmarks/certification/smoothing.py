"""Certified radii of digit nets at three sigmas: `python -m benchmarks.certification.smoothing`.

Trains by the zoo's plans mnist-gaussian, mnist-consistency and mnist-smoothadv at each sigma, and certifies MNIST's
first test digits; then `zoo:mnist-plain`, which saw no noise, with and without a denoiser before it. Writes
records/certification/smoothing.json, net by net. About five minutes of one CPU core.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.provenance import ROOT, provenance
from benchmarks.training.nets import digits
from sparring.defenses.certification import SmoothedClassifier, SmoothingCertificates
from sparring.defenses.purification import Denoiser, DenoisingAutoencoder, FitConfig, fit_denoiser
from sparring.defenses.training import train
from sparring.defenses.training.plan import make_training_plan
from sparring.engine import Engine
from sparring.storage import read_toml
from sparring.targets import Classifier, Pipeline, Target
from sparring.zoo import load_model
from sparring.zoo.mnist_net import MnistNet

SIGMAS, OBJECTIVES = (0.25, 0.5, 1.0), ("gaussian", "consistency", "smoothadv")
DIGITS, N0, N, ALPHA = 100, 100, 2000, 0.001
N_DENOISED = 300  # draws for a net with and without a denoiser, which costs many times as much as the net
RADII = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)


def trained(objective: str, sigma: float) -> tuple[Classifier, dict[str, Any]]:
    """The net of a plan, at this sigma, and what its training took."""
    table = read_toml(ROOT / "src" / "sparring" / "zoo" / "plans" / f"mnist-{objective}.toml", "a training plan")
    table["objective"]["sigma"] = table["validation"]["smoothing"]["sigma"] = sigma
    plan = make_training_plan(table)
    images, labels = digits("mnist-train")
    torch.manual_seed(plan.training.seed)
    target = Classifier(MnistNet(), classes=10, name=f"{objective} {sigma}")
    began = time.process_time()
    found = train(
        target,
        (images[: plan.data.limit], labels[: plan.data.limit]),
        plan.make_objective(load_model),  # type: ignore[arg-type]
        plan.make_adversary(load_model),  # type: ignore[arg-type]
        config=plan.training,
        validation=plan.make_validation()[0],
    )
    seconds = time.process_time() - began
    return target, {"training_seconds": round(seconds, 1), "validation_acr": round(found.best.acr, 3)}


def denoised(sigma: float) -> tuple[Target[Any], dict[str, Any]]:
    """`zoo:mnist-plain` behind a denoiser that learned from its 4,000 digits."""
    images, _ = digits("mnist-4k")
    torch.manual_seed(0)
    stage = Denoiser(DenoisingAutoencoder(1))
    began = time.process_time()
    fit_denoiser(stage, images, sigma=sigma, clip=False, config=FitConfig(epochs=5, lr=3e-3))
    return Pipeline(load_model("zoo:mnist-plain").target, stage), {
        "training_seconds": round(time.process_time() - began, 1)
    }


def facts(certificates: SmoothingCertificates, labels: torch.Tensor, at: Sequence[float] = RADII) -> dict[str, Any]:
    """The certified accuracies at some radii, and the average radius."""
    radii = torch.tensor(at)
    return {
        "certified": [round(x, 4) for x in certificates.certified_accuracy(labels, radii).tolist()],
        "joint": [round(x, 4) for x in certificates.joint().certified_accuracy(labels, radii).tolist()],
        "acr": round(certificates.average_radius(labels), 4),
        "abstained": int((certificates.predicted < 0).sum()),
    }


def nets(sigma: float) -> Iterator[tuple[str, Target[Any], dict[str, Any], int]]:
    """Every net at this sigma, with what its training took, and the draws for its certificates."""
    for objective in OBJECTIVES:
        yield objective, *trained(objective, sigma), N
    yield "plain", load_model("zoo:mnist-plain").target, {}, N_DENOISED
    yield "plain, denoised", *denoised(sigma), N_DENOISED


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.certification.smoothing")
    parser.add_argument("--out", type=Path, default=ROOT / "records" / "certification" / "smoothing.json")
    options = parser.parse_args()
    images, labels = (part[:DIGITS] for part in digits("mnist"))
    rows: list[dict[str, Any]] = []
    for sigma in SIGMAS:
        for name, target, training, n in nets(sigma):
            began = time.process_time()
            found = SmoothedClassifier(target, sigma).certify(images, N0, n, ALPHA, engine=Engine(batch_size=128))
            seconds = round(time.process_time() - began, 1)
            rows.append({"net": name, "sigma": sigma, "n": n, **training, **facts(found, labels), "seconds": seconds})
            print(rows[-1], flush=True)
            record = {
                "made": provenance("python -m benchmarks.certification.smoothing", "cpu"),
                "digits": DIGITS,
                "n0": N0,
                "alpha": ALPHA,
                "radii": RADII,
                "rows": rows,
            }
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
