"""The page docs/physical.md, made of records/physical/stages.json and of the stages themselves.

python -m benchmarks.physical.stages_page
"""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

from benchmarks.physical.stages import RECORD, STAGES
from benchmarks.provenance import ROOT
from sparring.physical import Camera, Planar, held_out_family, optimization_family

PAGE = ROOT / "docs" / "physical.md"
CODECS = ("mean", "cubic", "none", "straight", "image")
KEPT_OUT = {"family", "severity", "anchor", "mask", "supersampling"}
SHARED = {"scale", "shift", "roll"}  # of all placements
CAMERA = ("illumination", "lens", "sensor", "mosaic", "balance", "tone", "noise", "resize", "codec")

HEAD = """# Print, place, capture

Made by `python -m benchmarks.physical.stages` and `python -m benchmarks.physical.stages_page`.

A patch, a sticker or a sign that fools a model as a tensor has to survive a printer, a surface and a camera.
`sparring.physical` simulates them as transforms before a model, differentiable from the pixels of the artifact (and
from the pose) to the pixels that the model sees.

```python
import sparring as sp
from sparring.physical import LandmarkAnchor, TotalVariation, optimization_family, held_out_family, check_held_out

chain = optimization_family(LandmarkAnchor(width=1.4, offset=(0.0, -0.9)))  # on foreheads
placed = sp.Pipeline(verifier, chain)
scenes = sp.targets.OverScenes(placed, goal, sp.Scene(images, landmarks=landmarks))
target = sp.targets.Regularized(scenes, TotalVariation(weight=1.0))
start = torch.full((1, 3, 40, 90), 0.5)  # the artifact is the variable: any attack makes it
outcome = sp.run(sp.attacks.PGD(sp.Linf(1.0), steps=200), target, sp.goals.FoolScenes(torch.zeros(1)), start)

judge = held_out_family(LandmarkAnchor(width=1.4, offset=(0.0, -0.9)))
check_held_out(chain, judge)  # raises ConfigError where the two share a family or a mechanism
sticker = outcome.examples.expand(len(images), -1, -1, -1)
answers = sp.Pipeline(verifier, judge)(sticker, context=sp.Scene(images, landmarks=landmarks))
```

Drawing is apart from applying. `parameters = chain.sample(key, artifacts, scene)` is a frozen record of tensors with
a row for each image, and `chain.apply_parameters(artifacts, parameters, scene)` is a function of its arguments: the
same parameters put a clean and an attacked artifact before the same camera. A draw depends on the seed and the
position in the data set.

![One chart through every stage of both families](physical-stages.png)

## The order, and the light

| step | takes | gives |
|---|---|---|
| printer | artifact (B, C, h, w), sRGB as it is sent | sRGB as it looks on paper |
| placement | that, and the images of the scenes | the picture, artifact over scene, in linear light |
| camera | the picture | the image that is stored, sRGB |

A camera has the parts {camera}, in this order, and any may be left out. Illumination, lens, sensor, mosaic and
balance work in linear light, since light adds up there: a blur in sRGB darkens bright edges. A stage alone is a
transform of sRGB images too, and converts by itself. `severity` is a factor of all deviations: at 0 a stage changes
nothing (up to rounding of the conversions), at 1 parameters are drawn in the ranges below, at 1.5 in ranges half as
wide again; `chain.at_severity(1.5)` sets all of them.

## Two families

What an optimisation finds to exploit in a simulator it also finds when the same simulator judges it, at whatever
strength. So the two families differ in mechanism, not in range:

| | to optimise through | to judge by |
|---|---|---|
{families}

`check_held_out` compares the words that stages bear as their `family` and the mechanisms themselves, so that renaming
one does not help. A stage of your own is a frozen dataclass on `PhysicalStage` with `sample` and `apply_parameters`;
`sparring.testing.check_transform` has the laws that it must pass.

## The stages

Ranges at severity 1; a single number is the largest deviation, or a fixed value, as the stage's docstring has it.
Every placement also deviates from its anchor in `scale` (a share of its size, {scale:g}), `shift` (in widths of the
artifact, {shift:g}) and `roll` ({roll:g} degrees).

| stage | family | light | drawn in |
|---|---|---|---|
{stages}

Where the ranges come from. Contrast and brightness of `AffinePrinter` are those in the code of Thys et al. 2019; its
black is that of the thirty printed colours which the code of Sharif et al. 2016 and of RP2 carries (they reach from
0.06 to 0.76). Dots grow by 10 to 20 % in many printing processes; inks and paper of `GamutPrinter` are guesses at an
office printer, and `fit_printer(sent, seen)` puts yours in their place, from the colours of a photographed strip.
`PalettePrinter(colours=...)` has the colours of a list only. `Parabola` has the curvature and pitch of AdvHat (Komkov
& Petiushko 2019): 0.0013 per pixel of a canvas 900 pixels wide is {curvature:.2f} per width, and the pitch 17
degrees, give or take 2. `Sensor` is the model of Foi et al. 2008, variance a x + b, with full wells of 500 to 5,000
photons. All others are choices of ours: plausible, and measured on no camera. A figure that comes out of this
simulation is one of this simulation, and only a photograph tells what a printed artifact does.

## Placement

An anchor says where the artifact lies: `BoxAnchor` on the box of the scene (or the image), `LandmarkAnchor` on a
face, in units of the distance of the eyes, `QuadAnchor` on four corners (`Scene(quads=)`), as of a sign seen from the
side. The surface is then flat (`Planar`, `Homography`), curved about a vertical axis (`Parabola`, `Cylinder`) or bent
like cloth (`ThinPlate`). A `mask` (h, w) cuts any shape out of the artifact: frames of glasses, a round sticker.

Colours are multiplied by their coverage before they are sampled, and sampled from a pyramid of halved pictures at the
size at which they are seen. So a white patch on a white wall leaves no trace at its edge, a black one is not taken
for a hole, the coverage sums to the projected area, and every pixel of the artifact has a gradient however small it
is shown. Plain bilinear sampling reads 2 x 2 neighbours; what an optimisation writes into the pixels it skips, or
into the aliasing of those it reads, no lens would show. A patch of noise, {patch} x {patch} pixels, shown at a
fraction of its size:

| shown at | sampling | pixels with a gradient | error beside an area filter, grey levels | deviation (area filter) |
|---|---|---|---|---|
{aliasing}

## JPEG and demosaicing

`DifferentiableJPEG` beside libjpeg, on {rows} photographs of {side} x {side}: mean difference in grey levels, by how
it rounds its coefficients, and that of the image without any codec. Rounding "mean" is the default, since the most
attacks that were made through it pass libjpeg; "straight" rounds as libjpeg does, with the slope of "mean". Cameras
of the held-out family store through libjpeg itself.

| quality | mean | cubic | none | straight | the image itself |
|---|---|---|---|---|---|
{codecs}

Interpolating a Bayer mosaic on the same photographs has a mean error of {bilinear:.1f} thousandths of white by
bilinear and {malvar:.1f} by Malvar's method (the default).

## What it costs

Milliseconds for one image of {side} x {side}, an artifact of 100 x 100 on 30 % of its width: forwards, and forwards
and backwards to the artifact. One thread, a batch of {rows}, the least of five calls on a machine that was not idle.
Each includes its conversions between sRGB and linear light, which a chain makes once. A placement computes the window
in which the artifact lies, and not the whole picture.

| stage | forwards | forwards and backwards |
|---|---|---|
{costs}

## Penalties

`Regularized(target, penalties)` subtracts weighted penalties of the artifact from the loss that attacks ascend;
success is judged without them, and the deployed model knows of none.

| penalty | what it is |
|---|---|
| `TotalVariation` | isotropic, mean over pixels; finite, and 0, on flat grey |
| `NonPrintability` | distance from a palette: "softmin", "min" (Thys et al.), "product" (Sharif et al.; its gradient
spans ten powers of ten) | | `OutOfGamut` | distance from the convex hull of `printer.palette()`, 0 inside |
| `ContentDistance` | colour difference from a reference in CIELAB, beyond a tolerance |

## Beside kornia

kornia 0.9 has most of these operations and was compared with (`tests/agreement/test_kornia.py`): homographies,
Gaussian blur, bilinear demosaicing, sRGB and CIELAB agree. Its warps do not filter where they shrink, it has no
printer, no curved surface, no noise in linear light and no Malvar demosaicing, its random stages draw while they are
applied, and its thin plate has the kernel's centres at the displaced points. So it is a peer of the tests and no
dependency.

*{provenance}*
"""


def ranges(kind: Any) -> str:
    """Return the defaults of a stage's own parameters."""
    own = [one for one in fields(kind) if one.name not in KEPT_OUT and not (one.name in SHARED and kind is not Planar)]
    return ", ".join(f"`{one.name}` {told(one.default, one.name)}" for one in own if kind is not Planar) or "-"


def told(value: Any, name: str = "") -> str:
    if isinstance(value, tuple) and name == "pitch":  # a mean and a deviation
        return " ± ".join(told(one) for one in value)
    if isinstance(value, tuple):
        return (" to " if len(value) == 2 else ", ").join(told(one) for one in value)
    return f"{value:g}" if isinstance(value, float | int) else f'"{value}"'


def family_rows() -> str:
    """Return a line for each part of the chains, side by side."""
    optimized, judged = optimization_family(), held_out_family()
    lines = [("printer", optimized.printer, judged.printer), ("placement", optimized.placement, judged.placement)]
    lines += [(part, getattr(optimized.camera, part), getattr(judged.camera, part)) for part in CAMERA]
    shown = [(word, *("" if one is None else f"`{one.name}`" for one in pair)) for word, *pair in lines if any(pair)]
    return "\n".join(f"| {word} | {first} | {second} |" for word, first, second in shown)


def text(record: dict[str, Any]) -> str:
    """Return the page."""
    source = record["provenance"]
    changed = " with uncommitted changes" if source["uncommitted_changes"] else ""
    return HEAD.format(
        camera=", ".join(f"`{part}`" for part in Camera.__dataclass_fields__ if part in CAMERA),
        families=family_rows(),
        scale=Planar().scale,
        shift=Planar().shift,
        roll=Planar().roll,
        stages="\n".join(
            f"| `{kind.__name__}` | {kind().family} | {kind().light.value} | {ranges(kind)} |" for kind in STAGES
        ),
        curvature=0.0013 * 900,
        patch=record["patch"],
        rows=record["rows"],
        side=record["side"],
        aliasing="\n".join(
            f"| {one['pixels']} | {one['sampling']} | {one['with_gradient']:.1%} | {one['error']:.1f} | "
            f"{one['deviation']:.3f} ({one['deviation_of_area_filter']:.3f}) |"
            for one in record["aliasing"]
        ),
        codecs="\n".join(
            "| " + " | ".join([str(one["quality"]), *(f"{one[word]:.1f}" for word in CODECS)]) + " |"
            for one in record["codecs"]
        ),
        **{method: record["demosaicing"][method] for method in ("bilinear", "malvar")},
        costs="\n".join(
            f"| `{one['stage']}` | {one['forward_ms']:.1f} | {one['both_ms']:.1f} |" for one in record["costs"]
        ),
        provenance=f"`{source['command']}`, commit {source['commit'][:12]}{changed}, {source['cpu']}, "
        f"{source['threads']} thread, torch {source['versions']['torch']}, {source['date']}",
    )


def main() -> None:
    """Write the page."""
    PAGE.write_text(text(json.loads(RECORD.read_text())))
    print(PAGE)


if __name__ == "__main__":
    main()
