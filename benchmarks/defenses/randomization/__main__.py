"""What random defences are worth (C15): `python -m benchmarks.defenses.randomization [NAME ...] [--device cuda]`.

Each defence is attacked by PGD with the gradients of the bare model, of another net, and of the defence itself averaged
over 1 to 50 draws; robust accuracy is what is left on 40 fresh answers of the defence in use. Each experiment has its
entry in records/defenses/randomization.json, from which the tables are printed and docs/defenses-draws.png is drawn.
With no measuring at all: `--show`. Nets that are trained lie in runs/defenses.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

from benchmarks.defenses.randomization import page, peers
from benchmarks.defenses.randomization.contests import CONTESTS
from benchmarks.defenses.randomization.measures import measure
from benchmarks.defenses.randomization.options import Options
from benchmarks.provenance import ROOT, provenance

NAMES = (*CONTESTS, "peers")
NO_DEVICE = 3


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.defenses.randomization", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)} (default: all)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--images", type=int, default=200, help="digits (default 200)")
    parser.add_argument("--steps", type=int, default=20, help="of PGD on digits (20); half of it on photographs")
    parser.add_argument("--batch-size", type=int, default=250)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "defenses")
    parser.add_argument("--out", type=Path, default=ROOT / "records" / "defenses" / "randomization.json")
    parser.add_argument("--picture", type=Path, default=ROOT / "docs" / "defenses-draws.png")
    parser.add_argument("--show", action="store_true", help="measure nothing")
    given = parser.parse_args()
    unknown = sorted(set(given.names) - set(NAMES))
    if unknown:
        parser.error(f"there is no experiment {unknown[0]!r}; name some of {', '.join(NAMES)}")
    if given.device.startswith("cuda") and not torch.cuda.is_available():
        print("no CUDA device here: nothing measured")
        return NO_DEVICE
    if given.device == "cpu":
        torch.set_num_threads(1)
    options = Options(given.device, given.images, given.steps, given.batch_size, given.runs)
    for name in () if given.show else given.names or NAMES:
        print(name, flush=True)
        found = peers.measure(options) if name == "peers" else measure(CONTESTS[name](options), options)
        command = f"python -m benchmarks.defenses.randomization {name} --images {given.images} --steps {given.steps}"
        command += f" --device {given.device}" * (given.device != "cpu")
        keep(given.out, name, {"made": provenance(command, given.device), **found})
    record = json.loads(given.out.read_text())
    print(page.text(record))
    page.draw(record, given.picture)
    return 0


def keep(path: Path, name: str, entry: dict[str, object]) -> None:
    """Put an experiment into the record, beside those that are there."""
    record = json.loads(path.read_text()) if path.exists() else {"experiments": {}}
    record["experiments"][name] = entry
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
