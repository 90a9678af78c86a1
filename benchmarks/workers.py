"""What a second worker is worth: one audit by one process, by two processes and by two workers of ray.

    python -m benchmarks.workers [--images 200] [--workers 1 2 ray:2] [--out FILE]

The standard suite on the zoo's robust digits net, Linf 0.3, chunks of PART images, one thread in each worker. `wall` is
the whole audit: the look at the clean images, probes, the start of the workers (which goes on meanwhile), attacks,
report. `attacks` is from the end of the probes to the last record. Every run must leave the records of the first, but
for times. Writes records/audit/workers.json.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.provenance import ROOT, provenance
from sparring import Linf, audit
from sparring.audit import AuditObserver, ChunkRecorded
from sparring.audit.records.database import Records
from sparring.zoo import load_data, load_model

RECORD = ROOT / "records" / "audit" / "workers.json"
NET, DATA, EPS, PART = "zoo:mnist-robust-linf", "zoo:mnist", 0.3, 20
TABLES = ("chunk", "sample", "result", "stretched", "skipped")


class Clock(AuditObserver):
    """When the probes began, and when the last chunk was recorded."""

    def __init__(self) -> None:
        self.probes = self.last = time.perf_counter()

    def probing(self) -> None:
        self.probes = time.perf_counter()

    def recorded(self, done: ChunkRecorded) -> None:
        self.last = time.perf_counter()


def content(folder: Path) -> tuple[float, list[Any]]:
    """Seconds of the probes; and all that was recorded, but for times."""
    records = Records.open(folder)
    rows = [dict(row) for table in TABLES for row in records.select(f"SELECT * FROM {table}")]
    seconds = float(records.probe_results()["seconds"])
    records.close()
    timeless = [{name: value for name, value in row.items() if name != "seconds"} for row in rows]
    return seconds, [*timeless, *(path.read_bytes() for path in sorted(folder.rglob("*.safetensors")))]


def measured(workers: str, images: int) -> tuple[dict[str, Any], list[Any]]:
    """One audit: its times, and what it recorded."""
    loaded, clock, before = load_model(NET), Clock(), os.getloadavg()
    data = load_data(DATA, input=loaded.input, limit=images)
    with tempfile.TemporaryDirectory() as folder:
        out, start = Path(folder) / "run", time.perf_counter()
        report = audit(loaded, data, threats=[Linf(EPS)], out=out, batch_size=PART, workers=workers, observer=clock)
        wall = time.perf_counter() - start
        probes, records = content(out)
    share = report.threats[0].epsilons[0].robust_accuracy
    row = {
        "workers": workers,
        "images": share.total,
        "stand": share.count,
        "wall": round(wall, 2),
        "probes": round(probes, 2),
        "attacks": round(clock.last - clock.probes - probes, 2),
        "load_before": [round(one, 2) for one in before],
        "load_after": [round(one, 2) for one in os.getloadavg()],
    }
    return row, records


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workers", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--workers", nargs="*", default=["1", "2", "ray:2"])
    parser.add_argument("--out", type=Path, default=RECORD)
    options = parser.parse_args()
    torch.set_num_threads(1)
    measured("1", PART)  # imports, and the first use of everything
    rows: list[dict[str, Any]] = []
    first: list[Any] = []
    for workers in options.workers:
        row, records = measured(workers, options.images)
        first = first or records
        row |= {f"{name}_share": round(row[name] / (rows or [row])[0][name], 3) for name in ("wall", "attacks")}
        row["same_records"] = records == first
        rows.append(row)
        print(row, flush=True)
        record = {"made": provenance("python -m benchmarks.workers", "cpu"), "cores": os.cpu_count(), "rows": rows}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(record, indent=1) + "\n")
    return 0 if all(row["same_records"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
