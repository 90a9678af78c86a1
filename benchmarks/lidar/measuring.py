"""What the measurements of LiDAR share: shares with their intervals, and records."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.provenance import ROOT, provenance
from sparring.intervals import wilson

RECORDS = ROOT / "records" / "lidar"
LABEL = "synthetic simulator (sparring.lidar.streets)"


def share(flags: Tensor) -> dict[str, Any]:
    """The share of true flags, with its Wilson interval."""
    count, of = int(flags.sum()), flags.numel()
    low, high = wilson(count, of)
    return {"value": count / max(1, of), "low": low, "high": high, "of": of}


Save = Callable[[dict[str, Any]], None]


def write(name: str, command: str, measure: Callable[[Save], None]) -> None:
    """Measure on one thread; `measure` is given what writes records/lidar/NAME.json, and calls it as results come."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    began, cpu = time.time(), time.process_time()
    origin = {**provenance(command, "cpu"), "data": LABEL}
    RECORDS.mkdir(parents=True, exist_ok=True)

    def save(found: dict[str, Any]) -> None:
        seconds = {"cpu_seconds": round(time.process_time() - cpu, 1), "wall_seconds": round(time.time() - began, 1)}
        (RECORDS / f"{name}.json").write_text(json.dumps({**origin, **seconds, **found}, indent=1) + "\n")
        print(seconds, flush=True)

    measure(save)
