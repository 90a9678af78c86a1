"""The picture docs/physical-stages.png: one artifact through every stage of both families, at several severities.

python -m benchmarks.physical.contact_sheet
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn.functional import interpolate

import sparring as sp
from benchmarks.provenance import ROOT
from sparring.physical import (
    AffinePrinter,
    AutoBalance,
    BayerMosaic,
    BoxAnchor,
    Cylinder,
    DifferentiableJPEG,
    Exposure,
    GamutPrinter,
    GaussianBlur,
    GaussianNoise,
    Homography,
    Illumination,
    LandmarkAnchor,
    Lens,
    LibJPEG,
    Parabola,
    PhysicalStage,
    Placement,
    Printer,
    Sensor,
    ThinPlate,
    ToneCurve,
    held_out_family,
    optimization_family,
)
from sparring.random import Key

PICTURE = ROOT / "docs" / "physical-stages.png"
SEVERITIES = (0.0, 0.5, 1.0, 1.5)
TILE, GAP, LABEL = 130, 5, 15
SEED = 6
LEFT, SIDE = 60, 320  # the part of the astronaut's picture (512 x 512) that is shown, from its upper border
FACE = torch.tensor([[[148.0, 114.0], [181.0, 112.0], [165.0, 148.0]]])
BOARD = torch.tensor([[20.0, 150.0, 300.0, 310.0]])


@dataclass(frozen=True)
class Row:
    """A stage of each family, and how what it makes is shown."""

    stages: tuple[Any, Any]
    zoomed: bool = False


def chart() -> Tensor:
    """Return an artifact (1, 3, 60, 90): colours, greys, and stripes that get finer."""
    image = torch.zeros(3, 60, 90)
    colours = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 0]]).float()
    for number, colour in enumerate(colours):
        image[:, :20, number * 15 : (number + 1) * 15] = colour[:, None, None]
    image[:, 20:40] = torch.linspace(0, 1, 90)
    x = torch.arange(90)
    period = torch.where(x < 30, 8, torch.where(x < 60, 4, 2))
    image[:, 40:] = ((x % period) < period // 2).float()
    return image[None]


def rows() -> list[Row]:
    """Return the stages, those that model the same thing side by side."""
    forehead = LandmarkAnchor(width=2.2, offset=(0.0, -1.0))
    board = BoxAnchor(0.6)
    return [
        Row((AffinePrinter(), GamutPrinter())),
        Row((Homography(anchor=board), ThinPlate(anchor=board))),
        Row((Parabola(anchor=forehead), Cylinder(anchor=board))),
        Row((Exposure(), Illumination())),
        Row((GaussianBlur(), Lens()), zoomed=True),
        Row((GaussianNoise(), Sensor()), zoomed=True),
        Row((DifferentiableJPEG(), LibJPEG()), zoomed=True),
        Row((None, BayerMosaic()), zoomed=True),
        Row((None, AutoBalance())),
        Row((None, ToneCurve())),
        Row((optimization_family(board), held_out_family(board))),
    ]


def shown(stage: Any, severity: float, scene: sp.Scene, seen: Tensor) -> Tensor:
    """Return an image (1, 3, H, W): the chart, or the picture with the chart in it, through the stage."""
    key = Key(torch.zeros(1, dtype=torch.long), SEED)
    stage = stage.at_severity(severity)
    if isinstance(stage, PhysicalStage) and not isinstance(stage, Placement | Printer):
        return stage.apply(seen, key, scene)[0]
    return stage.apply(chart(), key, scene)[0]


def tile(image: Tensor, zoomed: bool) -> Image.Image:
    """Return the image in the size of a tile; `zoomed` shows a part of it, pixel by pixel."""
    if zoomed:
        image = image[:, :, 196:246, 125:175]
    height, width = image.shape[2:]
    scale = TILE / max(height, width)
    mode = "nearest" if zoomed or height < TILE else "area"
    image = interpolate(image, (round(height * scale), round(width * scale)), mode=mode)
    pixels = image[0].mul(255).round().byte().permute(1, 2, 0).numpy()
    made = Image.new("RGB", (TILE, TILE), "white")
    made.paste(Image.fromarray(np.ascontiguousarray(pixels)), (0, (TILE - pixels.shape[0]) // 2))
    return made


def main() -> None:
    """Draw the sheet."""
    images, _ = sp.load_data("zoo:photos", input=sp.zoo.InputSpec(3, 512, 512), limit=3).tensors()
    scene = sp.Scene(images=images[2:, :, :SIDE, LEFT : LEFT + SIDE], boxes=BOARD, landmarks=FACE)
    flat = replace(optimization_family(BoxAnchor(0.6)), printer=None).at_severity(0)
    seen = flat.apply(chart(), Key(torch.zeros(1, dtype=torch.long), 0), scene)[0]
    half = len(SEVERITIES) * (TILE + GAP) + GAP
    sheet = Image.new("RGB", (2 * half + 4 * GAP, len(rows()) * (TILE + LABEL + GAP) + 2 * LABEL), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for side, family in enumerate(("optimization", "held-out")):
        left = side * (half + 4 * GAP) + GAP
        draw.text(
            (left, 2), f"family {family!r}; severity " + ", ".join(f"{one:g}" for one in SEVERITIES), "black", font
        )
        for number, row in enumerate(rows()):
            stage, top = row.stages[side], 2 * LABEL + number * (TILE + LABEL + GAP)
            if stage is None:
                draw.text((left, top - 2), "(no such stage)", "gray", font)
                continue
            name = f"all of {family}" if number == len(rows()) - 1 else stage.name
            draw.text((left, top - 2), name, "black", font)
            for column, severity in enumerate(SEVERITIES):
                made = tile(shown(stage, severity, scene, seen), row.zoomed)
                sheet.paste(made, (left + column * (TILE + GAP), top + LABEL))
    sheet.save(PICTURE, optimize=True)
    print(PICTURE)


if __name__ == "__main__":
    main()
