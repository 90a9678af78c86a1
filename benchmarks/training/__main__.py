"""What adversarial training is worth: `python -m benchmarks.training [NAME ...] [--runs DIR] [--out DIR]`.

Trains what is not there yet, on MNIST's training digits, and writes one record for each experiment into
records/training. The nets stay in the runs folder; delete a net's folder to train it again. All of it takes about two
hours of two CPU cores.
"""

from __future__ import annotations

import argparse
import json
import sys
from importlib import import_module
from pathlib import Path

from benchmarks.provenance import ROOT, provenance
from benchmarks.training.nets import Nets

NAMES = ("remain_open", "fgsm", "distillation", "equal_time", "samples", "threats")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)} (default: all)")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "training")
    parser.add_argument("--out", type=Path, default=ROOT / "records" / "training")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(NAMES))
    if unknown:
        parser.error(f"there is no experiment {unknown[0]!r}; name some of {', '.join(NAMES)}")
    nets = Nets(options.runs, lambda text: print(text, flush=True))
    for name in options.names or NAMES:
        print(name, flush=True)
        found = import_module(f"benchmarks.training.{name}").measure(nets)
        made = provenance(f"python -m benchmarks.training {name}", "cpu")
        options.out.mkdir(parents=True, exist_ok=True)
        record = {"experiment": name, "made": made, **found}
        (options.out / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
