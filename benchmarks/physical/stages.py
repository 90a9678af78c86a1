"""Figures of the physical chain's stages: aliasing, JPEG and demosaicing beside their references, and what each costs.

    OMP_NUM_THREADS=1 python -m benchmarks.physical.stages

writes records/physical/stages.json in half a minute.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

import sparring as sp
from benchmarks.provenance import ROOT, provenance
from sparring.physical import (
    BayerMosaic,
    BoxAnchor,
    DifferentiableJPEG,
    LibJPEG,
    Placement,
    Planar,
    Printer,
)
from sparring.physical.camera import codec, exposure, lens, mosaic, processing, sensor
from sparring.physical.placement import curved, planar, thin_plate
from sparring.physical.printer import affine, gamut
from sparring.random import Key

RECORD = ROOT / "records" / "physical" / "stages.json"
COMMAND = "OMP_NUM_THREADS=1 python -m benchmarks.physical.stages"
PATCH, SHOWN = 300, (150, 100, 54, 30)
QUALITIES = (95, 80, 60, 40)
ROWS, SIDE, REPEATS = 8, 224, 5
STAGES = (
    affine.AffinePrinter, gamut.GamutPrinter, planar.Planar, planar.Homography, curved.Parabola, curved.Cylinder,
    thin_plate.ThinPlate, exposure.Exposure, exposure.Illumination, lens.GaussianBlur, lens.Lens, sensor.GaussianNoise,
    sensor.Sensor, mosaic.BayerMosaic, processing.AutoBalance, processing.ToneCurve, codec.DifferentiableJPEG,
    codec.LibJPEG,
)  # fmt: skip


def key_of(count: int) -> Key:
    return Key(torch.arange(count), 0)


def area_filter(patch: Tensor, pixels: int) -> Tensor:
    """Return a patch (1, C, n, n) in `pixels` x `pixels`: of each pixel the mean of what it covers."""
    ends = torch.arange(pixels + 1, dtype=torch.float64) * patch.shape[3] / pixels
    at = torch.arange(patch.shape[3], dtype=torch.float64)
    covered = (torch.minimum(ends[1:, None], at + 1) - torch.maximum(ends[:-1, None], at)).clamp_min(0)
    weights = (covered / covered.sum(1, keepdim=True)).to(patch)
    return weights @ patch @ weights.T


def bilinear(patch: Tensor, pixels: int) -> Tensor:
    """Return the patch as plain bilinear sampling shows it."""
    steps = (torch.arange(pixels) + 0.5) / pixels * 2 - 1
    down, across = torch.meshgrid(steps, steps, indexing="ij")
    return grid_sample(patch, torch.stack((across, down), 2)[None].to(patch), align_corners=False)


def placed(by: int) -> Callable[[Tensor, int], Tensor]:
    """Return how a placement with `by` samples to a side shows the patch."""

    def show(patch: Tensor, pixels: int) -> Tensor:
        side, top = 160, (160 - pixels) // 2
        placement = Planar(anchor=BoxAnchor(pixels / side), scale=0.0, shift=0.0, roll=0.0, supersampling=by)
        scene = sp.Scene(images=torch.zeros(1, 1, side, side))
        made = placement.project(patch, placement.sample(key_of(1), patch), scene).colour
        return made[:, :, top : top + pixels, top : top + pixels]

    return show


def aliasing() -> list[dict[str, Any]]:
    """How many pixels of a patch have a gradient when it is shown small, and how far it is from its area filter."""
    noise = Key(torch.zeros(1, dtype=torch.long), 0).normal("noise", (1, PATCH, PATCH)) * 0.2 + 0.5
    found = []
    for pixels in SHOWN:
        for name, show in (("bilinear", bilinear), ("supersampling 1", placed(1)), ("supersampling 2", placed(2))):
            patch = noise.clamp(0, 1).requires_grad_()
            made = show(patch, pixels)
            (slope,) = torch.autograd.grad((made * torch.rand_like(made)).sum(), patch)
            wanted = area_filter(patch.detach(), pixels)
            found.append(
                {
                    "pixels": pixels,
                    "sampling": name,
                    "with_gradient": float((slope != 0).float().mean()),
                    "error": float((made.detach() - wanted).abs().mean()) * 255,
                    "deviation": float(made.detach().std()),
                    "deviation_of_area_filter": float(wanted.std()),
                }
            )
    return found


def photographs() -> Tensor:
    images, _ = sp.load_data("zoo:photos", input=sp.zoo.InputSpec(3, SIDE, SIDE)).tensors()
    return images[:ROWS].contiguous()


def codecs(images: Tensor) -> list[dict[str, Any]]:
    """Mean difference of the differentiable codecs from libjpeg, and of the image itself, in grey levels."""
    found = []
    for quality in QUALITIES:
        true = LibJPEG(quality=(quality, quality)).apply(images, key_of(len(images)), None)[0]
        made = {
            rounding: DifferentiableJPEG(quality=(quality, quality), rounding=rounding).apply(
                images, key_of(len(images)), None
            )[0]
            for rounding in ("mean", "cubic", "none", "straight")
        }
        differences = {name: float((one - true).abs().mean()) * 255 for name, one in {**made, "image": images}.items()}
        found.append({"quality": quality, **differences})
    return found


def demosaicing(images: Tensor) -> dict[str, float]:
    """Mean error of an image behind the mosaic in linear light, in thousandths of white."""
    linear = images.double() ** 2.2
    drawn = BayerMosaic().sample(key_of(len(images)), linear)
    return {
        method: float((BayerMosaic(method=method).apply_parameters(linear, drawn) - linear).abs().mean()) * 1000
        for method in ("bilinear", "malvar")
    }


def costs(images: Tensor) -> list[dict[str, Any]]:
    """Milliseconds of one image, forwards, and forwards and backwards: the least of several."""
    artifact = torch.rand(len(images), 3, 100, 100, generator=torch.Generator().manual_seed(0))
    found = []
    for kind in STAGES:
        stage: Any = kind()
        if isinstance(stage, Placement):
            stage = replace(stage, anchor=BoxAnchor(0.3))
        x = artifact if isinstance(stage, Placement | Printer) else images
        variable = x.clone().requires_grad_()

        def ask(x: Tensor, stage: Any = stage) -> Tensor:
            seen: Tensor = stage.apply(x, key_of(len(x)), sp.Scene(images=images))[0]
            return seen

        def both(x: Tensor, ask: Callable[[Tensor], Tensor] = ask) -> None:
            torch.autograd.grad(ask(x).sum(), x)

        found.append(
            {
                "stage": kind.__name__,
                "forward_ms": fastest(ask, x) * 1000 / len(x),
                "both_ms": fastest(both, variable) * 1000 / len(x),
            }
        )
    return found


def fastest(ask: Callable[[Tensor], Any], x: Tensor) -> float:
    """Return the least seconds of several calls."""
    spent = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        ask(x)
        spent.append(time.perf_counter() - begin)
    return min(spent)


def main() -> None:
    """Measure, and write the record."""
    torch.manual_seed(0)
    images = photographs()
    record = {
        "provenance": provenance(COMMAND, "cpu"),
        "patch": PATCH,
        "rows": ROWS,
        "side": SIDE,
        "aliasing": aliasing(),
        "codecs": codecs(images),
        "demosaicing": demosaicing(images),
        "costs": costs(images),
    }
    RECORD.parent.mkdir(parents=True, exist_ok=True)
    RECORD.write_text(json.dumps(record, indent=1) + "\n")
    print(RECORD)


if __name__ == "__main__":
    main()
