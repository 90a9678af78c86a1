"""The standard suite of an audit beside AutoAttack's standard version: the same images, the whole audit's time.

    python -m benchmarks.audit [NET ...] [--libraries autoattack torchattacks] [--out FILE]

500 digits of an adversarially trained net within Linf 0.3, and 20 photographs within Linf 4/255. Ours is
`sparring.audit` from the first look to the written report: looks at clean images, probes, attacks, their confirmation,
8-bit and JPEG copies, records. The peers get the images in parts of 100. Images that came back are classified again and
measured again by the benchmark. Processor seconds, one thread. Writes records/audit/autoattack.json after each part;
nets that are not named stay as they were.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.clock import stopwatch
from benchmarks.counting import CountedNet
from benchmarks.judging import weigh
from benchmarks.libraries import Task, attack_of
from benchmarks.nets import Victim, load_victim
from benchmarks.provenance import ROOT, provenance
from sparring import Classifier, Linf, audit
from sparring.audit.records.database import Records
from sparring.audit.records.example_files import read_row

RECORD = ROOT / "records" / "audit" / "autoattack.json"
KEPT = {"attack", "asked", "fell", "forwards", "backwards", "seconds"}
PART = 100  # images that go to a library at once


@dataclass(frozen=True)
class Case:
    """Some images of a net, and the radius around them."""

    images: int
    eps: float


CASES = {"mnist-robust-linf": Case(500, 0.3), "efficientnet-lite0": Case(20, 4 / 255)}


def ours(net: CountedNet, victim: Victim, eps: float, folder: Path) -> tuple[Tensor, dict[str, Any]]:
    """The examples of an audit, and how its report divides the passes."""
    size = min(PART, len(victim.images))
    batches = list(zip(victim.images.split(size), victim.labels.split(size), strict=True))
    report = audit(Classifier(net), batches, threats=[Linf(eps)], out=folder, suite="standard", batch_size=size)
    returned = victim.images.clone()
    records = Records.open(folder)
    for row in records.select("SELECT sample, example_file, example_row FROM result WHERE success"):
        returned[row["sample"]] = read_row(folder / row["example_file"], "examples", row["example_row"])
    seconds = records.probe_results()["seconds"]
    records.close()
    (part,) = report.threats[0].epsilons
    attacks = [one.model_dump(include=KEPT) for one in part.attacks]
    severe = [one.code for one in report.warnings if one.severity == "severe"]
    said = part.robust_accuracy.share
    return returned, {"attacks": attacks, "probe_seconds": seconds, "severe": severe, "said": said}


def measured(library: str, victim: Victim, eps: float, seed: int) -> dict[str, Any]:
    """One library on some images."""
    counted = CountedNet(victim.net).eval()
    more: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, stopwatch("cpu") as elapsed:
        torch.manual_seed(seed)
        if library == "sparring":
            returned, more = ours(counted, victim, eps, Path(folder) / "run")
        else:
            returned = attack_of(library, "autoattack")(Task(counted, victim.images, victim.labels, seed), eps=eps)
    found = weigh(victim.net, victim.images, victim.labels, returned, "Linf", eps)
    return {
        "library": library,
        "seed": seed,
        "images": len(victim.images),
        "right": int(found.right.sum()),
        "stand": (found.right & ~found.fallen).nonzero().squeeze(1).tolist(),
        "outside": int((~found.inside).sum()),
        "cpu": elapsed.cpu,
        "wall": elapsed.wall,
        "forwards": counted.forwards,
        "backwards": counted.backwards,
    } | more


def parts(library: str, victim: Victim) -> list[Victim]:
    """What goes to a library at once: all of it to an audit."""
    size = len(victim.images) if library == "sparring" else PART
    pairs = zip(victim.images.split(size), victim.labels.split(size), strict=True)
    return [Victim(victim.net, *pair, victim.device) for pair in pairs]


def joined(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Parts of 100 as one row."""
    whole = dict(rows[0])
    for name in ("images", "right", "outside", "cpu", "wall", "forwards", "backwards"):
        whole[name] = sum(row[name] for row in rows)
    starts = [sum(row["images"] for row in rows[:place]) for place in range(len(rows))]
    whole["stand"] = [start + one for start, row in zip(starts, rows, strict=True) for one in row["stand"]]
    return whole


def line(net: str, row: dict[str, Any]) -> str:
    robust, each = len(row["stand"]) / row["images"], row["images"]
    passes = f"{row['forwards'] / each:.0f} forward and {row['backwards'] / each:.0f} backward passes per image"
    return f"{net} {row['library']}: robust accuracy {robust:.1%} of {each}, {row['cpu']:.0f} CPU s, {passes}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.audit", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("nets", nargs="*", metavar="NET", help=f"of {', '.join(CASES)} (default: all)")
    parser.add_argument("--libraries", nargs="*", default=["autoattack", "torchattacks"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RECORD)
    options = parser.parse_args()
    unknown = sorted(set(options.nets) - set(CASES))
    if unknown:
        parser.error(f"there is no case {unknown[0]!r}; name some of {', '.join(CASES)}")
    torch.set_num_threads(1)
    record: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}
    for net in options.nets or CASES:
        case = CASES[net]
        victim = load_victim(net, case.images, "cpu")
        measured("sparring", Victim(victim.net, victim.images[:2], victim.labels[:2], "cpu"), case.eps, 0)  # imports
        rows: list[dict[str, Any]] = []
        command = f"python -m benchmarks.audit {net} --libraries {' '.join(options.libraries)}"
        record[net] = {"made": provenance(command, "cpu"), "eps": case.eps, "rows": rows}
        for library in ["sparring", *options.libraries]:
            found: list[dict[str, Any]] = []
            for part in parts(library, victim):
                found.append(measured(library, part, case.eps, options.seed))
                rows[:] = [*(row for row in rows if row["library"] != library), joined(found)]
                options.out.parent.mkdir(parents=True, exist_ok=True)
                options.out.write_text(json.dumps(record, indent=1) + "\n")
            print(line(net, rows[-1]), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
