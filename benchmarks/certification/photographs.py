"""Certified radii of EfficientNet-Lite0 under noise: `python -m benchmarks.certification.photographs`.

Twenty of ImageNet's pictures, as the net is, which saw no noise, and behind a denoiser that learned from crops of the
zoo's photographs. Writes records/certification/photographs.json, row by row. A quarter of an hour of one CPU core.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.certification.smoothing import facts
from benchmarks.provenance import ROOT, provenance
from sparring.defenses.certification import SmoothedClassifier
from sparring.defenses.purification import Denoiser, FitConfig, fit_denoiser
from sparring.engine import Engine
from sparring.targets import Pipeline, Target
from sparring.zoo import load_data, load_model

MODEL, PICTURES, CROPS, SIDE = "zoo:efficientnet-lite0", "zoo:imagenet-20", 2000, 48
ROWS = ((0.05, False), (0.1, False), (0.1, True), (0.25, False), (0.25, True))  # sigma, with a denoiser
N0, N, ALPHA = 20, 200, 0.001
RADII = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4)


def pictures(name: str) -> tuple[Tensor, Tensor | None]:
    """Images and labels of one of the zoo's data sets, as the net takes them."""
    chunk = next(iter(load_data(name, load_model(MODEL)).chunks(64)))
    return chunk.images, chunk.labels


def crops() -> Tensor:
    """Random squares (CROPS, 3, SIDE, SIDE) of the zoo's photographs."""
    images, _ = pictures("zoo:photos")
    drawn = torch.Generator().manual_seed(0)
    windows = images.unfold(2, SIDE, 1).unfold(3, SIDE, 1)  # (N, 3, H', W', SIDE, SIDE)
    at = [torch.randint(size, (CROPS,), generator=drawn) for size in (len(images), *windows.shape[2:4])]
    return windows[at[0], :, at[1], at[2]].contiguous()


def small_dncnn(width: int = 24, depth: int = 5) -> nn.Module:
    """A residual denoiser as DnCNN (Zhang et al. 2017) without batch norm, small enough for a CPU."""
    inner = [layer for _ in range(depth - 2) for layer in (nn.Conv2d(width, width, 3, padding=1), nn.ReLU())]
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), *inner, nn.Conv2d(width, 3, 3, padding=1)
    )  # fmt: skip


def denoised(sigma: float, squares: Tensor) -> tuple[Target[Any], float]:
    """The net behind a denoiser for this sigma, and the seconds that the denoiser learned."""
    torch.manual_seed(0)
    stage = Denoiser(small_dncnn(), residual=True)
    began = time.process_time()
    fit_denoiser(stage, squares, sigma=sigma, clip=False, config=FitConfig(epochs=6, batch_size=32, lr=2e-3))
    return Pipeline(load_model(MODEL).target, stage), round(time.process_time() - began, 1)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.certification.photographs")
    parser.add_argument("--out", type=Path, default=ROOT / "records" / "certification" / "photographs.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    images, labels = pictures(PICTURES)
    assert labels is not None
    squares = crops()
    rows: list[dict[str, Any]] = []
    for sigma, with_denoiser in ROWS:
        target, fitted = denoised(sigma, squares) if with_denoiser else (load_model(MODEL).target, None)
        began = time.process_time()
        found = SmoothedClassifier(target, sigma).certify(images, N0, N, ALPHA, engine=Engine(batch_size=25))
        seconds = round(time.process_time() - began, 1)
        rows.append({"sigma": sigma, "denoiser_seconds": fitted, **facts(found, labels, RADII), "seconds": seconds})
        print(rows[-1], flush=True)
        made = provenance("python -m benchmarks.certification.photographs", "cpu")
        record = {"made": made, "model": MODEL, "pictures": len(images), "n0": N0, "n": N, "alpha": ALPHA}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps({**record, "radii": RADII, "rows": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
