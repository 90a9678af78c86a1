"""The standard suite of an audit beside AutoAttack's standard version: the same digits, the whole audit's time.

    python -m benchmarks.audit [--images 500] [--libraries autoattack torchattacks] [--out FILE]

Ours is `sparring.audit` from the first look to the written report: looks at clean images, probes, attacks, their
confirmation, 8-bit and JPEG copies, records. The peers get the digits in parts of 100. Images that came back are
classified again and measured again by the benchmark. Processor seconds, one thread. Writes
records/audit/autoattack.json after each part.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.clock import stopwatch
from benchmarks.counting import CountedNet
from benchmarks.judging import weigh
from benchmarks.libraries import Task, attack_of
from benchmarks.nets import AsModule
from benchmarks.provenance import ROOT, provenance
from sparring import Classifier, Linf, audit
from sparring.audit.records import Records
from sparring.audit.shards import read_row
from sparring.zoo import load_data, load_model

RECORD = ROOT / "records" / "audit" / "autoattack.json"
KEPT = {"attack", "asked", "fell", "forwards", "backwards", "seconds"}
NET, DATA, EPS, PART = "mnist-robust-linf", "zoo:mnist", 0.3, 100


def digits(number: int) -> tuple[nn.Module, Tensor, Tensor]:
    """The net in evaluation mode, and the first test digits."""
    loaded = load_model(f"zoo:{NET}")
    net = AsModule(loaded.target).eval().requires_grad_(False)
    images, labels = [], []
    for chunk in load_data(DATA, input=loaded.input, limit=number).chunks(PART):
        images.append(chunk.images)
        labels.append(chunk.labels)
    return net, torch.cat(images), torch.cat(labels)


def ours(net: nn.Module, images: Tensor, labels: Tensor, folder: Path) -> tuple[Tensor, dict[str, Any]]:
    """The examples of an audit, and how its report divides the passes."""
    batches = list(zip(images.split(PART), labels.split(PART), strict=True))
    target = Classifier(net, classes=10, name=NET)
    report = audit(target, batches, threats=[Linf(EPS)], out=folder, suite="standard", batch_size=PART)
    returned = images.clone()
    records = Records.open(folder)
    for row in records.select("SELECT sample, example_file, example_row FROM result WHERE success"):
        returned[row["sample"]] = read_row(folder / row["example_file"], "examples", row["example_row"])
    seconds = records.probed()["seconds"]
    records.close()
    (part,) = report.threats[0].epsilons
    attacks = [one.model_dump(include=KEPT) for one in part.attacks]
    severe = [one.code for one in report.warnings if one.severity == "severe"]
    said = part.robust_accuracy.share
    return returned, {"attacks": attacks, "probe_seconds": seconds, "severe": severe, "said": said}


def measured(library: str, net: nn.Module, images: Tensor, labels: Tensor, seed: int) -> dict[str, Any]:
    """One library on one part, or ours on all of it."""
    counted = CountedNet(net).eval()
    more: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, stopwatch("cpu") as elapsed:
        torch.manual_seed(seed)
        if library == "sparring":
            returned, more = ours(counted, images, labels, Path(folder) / "run")
        else:
            returned = attack_of(library, "autoattack")(Task(counted, images, labels, seed), eps=EPS)
    found = weigh(net, images, labels, returned, "Linf", EPS)
    return {
        "library": library,
        "seed": seed,
        "images": len(images),
        "right": int(found.right.sum()),
        "stand": (found.right & ~found.fallen).nonzero().squeeze(1).tolist(),
        "outside": int((~found.inside).sum()),
        "cpu": elapsed.cpu,
        "wall": elapsed.wall,
        "forwards": counted.forwards,
        "backwards": counted.backwards,
    } | more


def joined(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Parts of 100 as one row."""
    whole = dict(rows[0])
    for name in ("images", "right", "outside", "cpu", "wall", "forwards", "backwards"):
        whole[name] = sum(row[name] for row in rows)
    starts = [sum(row["images"] for row in rows[:place]) for place in range(len(rows))]
    whole["stand"] = [start + one for start, row in zip(starts, rows, strict=True) for one in row["stand"]]
    return whole


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.audit", description=__doc__)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--libraries", nargs="*", default=["autoattack", "torchattacks"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RECORD)
    options = parser.parse_args()
    torch.set_num_threads(1)
    net, images, labels = digits(options.images)
    measured("sparring", net, images[:2], labels[:2], 0)  # unmeasured: imports, first calls
    made = provenance(f"python -m benchmarks.audit --images {options.images}", "cpu")
    record: dict[str, Any] = {"suite": "audit", "made": made, "net": NET, "data": DATA, "eps": EPS, "rows": []}
    rows: list[dict[str, Any]] = record["rows"]
    for library in ["sparring", *options.libraries]:
        whole = PART if library != "sparring" else options.images
        parts: list[dict[str, Any]] = []
        for some, theirs in zip(images.split(whole), labels.split(whole), strict=True):
            parts.append(measured(library, net, some, theirs, options.seed))
            kept = [*rows, joined(parts)]
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(record | {"rows": kept}, indent=1) + "\n")
        rows.append(joined(parts))
        row = rows[-1]
        robust, each = len(row["stand"]) / row["images"], row["images"]
        passes = f"{row['forwards'] / each:.0f} forward and {row['backwards'] / each:.0f} backward passes per image"
        print(f"{library}: robust accuracy {robust:.1%}, {row['cpu']:.0f} CPU s, {passes}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
