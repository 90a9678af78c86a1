"""What certified training proves of MNIST's test digits: `python -m benchmarks.certification.training [NET ...]`.

    [--runs DIR] [--timeout 3] [--out FILE]

Each net is trained by the zoo's plan of its name into DIR/NET, unless it is there already; a training that was stopped
goes on. Then, on the 10,000 test digits: clean accuracy, the share that intervals certify, in float64, and what
`verify` says of the digits that intervals leave open, with `--timeout` seconds of branch and bound for each. Writes
records/certification/training.json after each net; nets that are not named are kept there as they are.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.provenance import ROOT, provenance
from benchmarks.training.nets import digits
from sparring import Linf, Misclassify
from sparring.defenses.certification import Network, Status, certify_bounds, verify
from sparring.defenses.training import IBP, Minibatch, Objective, Plain
from sparring.defenses.training.plan import read_training_plan
from sparring.random import Key
from sparring.targets import Classifier
from sparring.threats import parse_threat
from sparring.zoo import load_model, plan_path
from sparring.zoo.mnist_net import MnistNet

RECORD = ROOT / "records" / "certification" / "training.json"
NETS = ("mnist-ibp-0.1", "mnist-ibp-0.3")
ROWS = 500  # digits that are bounded together
LEAST = 1e-3  # bound from which a digit counts as proven by intervals: beyond the rounding of float32


def trained(net: str, runs: Path) -> Path:
    """The folder of the trained net."""
    folder = runs / net
    if not (folder / "last.safetensors").exists():
        again = ["--resume"] if (folder / "checkpoint.safetensors").exists() else []
        subprocess.run([sys.executable, "-m", "sparring", "train", net, "--out", str(folder), *again], check=True)
    return folder


def training_facts(folder: Path) -> dict[str, Any]:
    """What the log says of the training."""
    with (folder / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    best = max(rows, key=lambda row: float(row["certified"]))
    return {
        "epochs": len(rows),
        "seconds": round(float(rows[-1]["seconds"])),
        "best_epoch": int(best["epoch"]),
        "validation": {"clean": float(best["clean"]), "certified": float(best["certified"])},
    }


@torch.no_grad()
def margins(network: Network, images: Tensor, labels: Tensor, eps: float) -> Tensor:
    """The bounds (N,) of the margins by intervals."""
    parts = torch.arange(len(images)).split(ROWS)
    goals = [Misclassify(labels[rows]) for rows in parts]
    found = [
        certify_bounds(network, goal, images[rows], Linf(eps), method="ibp")
        for goal, rows in zip(goals, parts, strict=True)
    ]
    return torch.cat([one.margin for one in found])


def measured(net: str, runs: Path, timeout: float) -> dict[str, Any]:
    """One net on the test digits."""
    path = plan_path(net)
    assert path is not None
    plan, folder = read_training_plan(path), trained(net, runs)
    options = plan.objective.options
    (ball,) = parse_threat(options.pop("threat")).balls()
    target = load_model(f"trained:{folder}").target
    images, labels = digits("mnist")
    network = Network(target, images[:1])  # type: ignore[arg-type]
    with torch.no_grad():
        clean = float((target(images).argmax(1) == labels).double().mean())
    proven = margins(network, images, labels, ball.eps) > LEAST
    few, theirs = images[~proven], labels[~proven]
    began = time.process_time()
    verdicts = verify(network, Misclassify(theirs), few, Linf(ball.eps), timeout=timeout)
    seconds = time.process_time() - began
    counts = {one.value: int(verdicts.which(one).sum()) for one in Status}
    counts["proven"] += int(proven.sum())
    return {
        "net": net,
        "objective": plan.objective.name,
        "options": options,
        "eps": ball.eps,
        "weights": sum(weight.numel() for weight in target.model.parameters()),
        "training": training_facts(folder),
        "clean": clean,
        "ibp": float(proven.double().mean()),
        "verify": {
            "digits": len(images),
            "timeout": timeout,
            **counts,
            "methods": {one: verdicts.methods.count(one) for one in sorted(set(verdicts.methods))},
            "seconds": round(seconds, 1),
        },
    }


def step_costs() -> dict[str, float]:
    """The processor time of a training step, forward and backward, over that of plain training: medians of 15."""
    images, labels = (part[:256] for part in digits("mnist"))
    classifier = Classifier(MnistNet())
    batch = Minibatch(images, labels, Key(torch.arange(256), 0), 256, Network(classifier, images))
    eps, kappa = torch.full((256,), 0.3), torch.full((256,), 0.5)
    cases = {"plain": (Plain(), ()), "kappa 0": (IBP(Linf(0.3)), (eps,)), "kappa 0.5": (IBP(Linf(0.3)), (eps, kappa))}

    def seconds(objective: Objective, examples: tuple[Tensor, ...]) -> float:
        began = time.process_time()
        objective.losses(classifier, batch, examples).mean().backward()
        return time.process_time() - began

    taken: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(15):  # in turn, so that other work on the machine slows all of them
        for name, case in cases.items():
            taken[name].append(seconds(*case))
    plain = statistics.median(taken["plain"])
    return {name: round(statistics.median(times) / plain, 2) for name, times in taken.items() if name != "plain"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.certification.training")
    parser.add_argument("nets", nargs="*", default=NETS)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "certified-training")
    parser.add_argument("--timeout", type=float, default=3.0)
    parser.add_argument("--out", type=Path, default=RECORD)
    options = parser.parse_args()
    rows = {row["net"]: row for row in json.loads(options.out.read_text())["rows"]} if options.out.exists() else {}
    costs = step_costs()
    for net in options.nets:
        rows[net] = measured(net, options.runs, options.timeout)
        print(rows[net], flush=True)
        record = {
            "made": provenance("python -m benchmarks.certification.training", "cpu"),
            "step_over_plain": costs,
            "rows": [rows[name] for name in NETS if name in rows],
        }
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
