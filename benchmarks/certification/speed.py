"""Seconds of one CPU core per certificate: `python -m benchmarks.certification.speed`.

EfficientNet-Lite0 and the zoo's digit net under noise, 1,000 draws of one image; the passes alone beside it, so that
what noise and counting cost can be seen. Writes records/certification/speed.json. A minute.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import torch

from benchmarks.provenance import ROOT, provenance
from sparring.defenses.certification import SmoothedClassifier
from sparring.engine import Engine
from sparring.zoo import load_model

MODELS = {"zoo:efficientnet-lite0": ((3, 224, 224), 1000), "zoo:mnist-plain": ((1, 28, 28), 10_000)}
BATCH = 25


def main() -> int:
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for name, (shape, n) in MODELS.items():
        target = load_model(name).target
        images = torch.rand(1, *shape, generator=torch.Generator().manual_seed(0))
        smoothed, engine = SmoothedClassifier(target, 0.25), Engine(batch_size=BATCH)
        smoothed.predict(images, 50, engine=engine)
        began = time.process_time()
        smoothed.certify(images, 100, n - 100, engine=engine)
        whole = (time.process_time() - began) / n
        batch = images.expand(BATCH, -1, -1, -1).contiguous()
        with torch.no_grad(), target.frozen():
            target(batch)
            began = time.process_time()
            for _ in range(n // BATCH):
                target(batch)
        passes = (time.process_time() - began) / n
        rows.append(
            {
                "model": name,
                "draws": n,
                "ms_per_draw": round(1000 * whole, 3),
                "ms_per_pass_alone": round(1000 * passes, 3),
                "seconds_for_100000_draws": round(1e5 * whole, 1),
            }
        )
        print(rows[-1], flush=True)
    out = ROOT / "records" / "certification" / "speed.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    made = provenance("python -m benchmarks.certification.speed", "cpu")
    out.write_text(json.dumps({"made": made, "rows": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
