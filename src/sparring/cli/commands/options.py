"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..display.bounds import Bounds

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="zoo:NAME, FILE.py:FACTORY, timm:NAME, torchvision:NAME, hf:ORG/NAME, robustbench:NAME, onnx:FILE, "
        "trained:DIR of `sparring train`, or http://HOST/v2/models/NAME.",
    ),
]
Data = Annotated[
    str, typer.Argument(metavar="DATA", help="zoo:NAME, folder:DIR, flat:DIR, npz:FILE or FILE.py:FACTORY.")
]
Threats = Annotated[
    list[str] | None,
    typer.Option(
        "--threat",
        metavar="NORM[:EPS,...]",
        help="linf:4/255, l2:0.5; a norm alone where the smallest example is searched. May be given several times.",
    ),
]
Limit = Annotated[int | None, typer.Option(help="Take the first images only."), Bounds(1)]
BatchSize = Annotated[
    int | None, typer.Option(help="Images per pass, and per recorded chunk; by their size when not given."), Bounds(1)
]
Seed = Annotated[int, typer.Option(help="Of all random draws, from 0 on."), Bounds(0)]
Device = Annotated[str, typer.Option(help="cpu, cuda or cuda:1.")]
Access = Annotated[str | None, typer.Option(help="What the attacker may ask: scores or decisions; else all there is.")]
TopK = Annotated[int | None, typer.Option(help="Scores of the leading K classes only."), Bounds(1)]
Decimals = Annotated[
    int | None, typer.Option(help="Probabilities rounded to so many decimals; 2 is percent."), Bounds(0, 300)
]
Encode = Annotated[
    list[str] | None,
    typer.Option(metavar="CODEC", help="Images arrive as uint8, jpeg:QUALITY or resize:SIZE; may be repeated."),
]
Defend = Annotated[
    list[str] | None,
    typer.Option(metavar="STAGE", help="Put MODEL behind jpeg:75, resize-pad, FILE.py:FACTORY, ...; may be repeated."),
]
Votes = Annotated[int, typer.Option(help="Answers of a random defence that make one of its own."), Bounds(1)]
Draws = Annotated[
    int | None,
    typer.Option(help="Passes per gradient of a random defence; by the gradient's variance if not given."),
    Bounds(1),
]
Mask = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Where images may be changed: a PNG (white: may move), or a .npy or .npz of bools or 0 and 1.",
    ),
]
Rate = Annotated[float | None, typer.Option(help="The model answers so many images a second."), Bounds(1e-4, 1e9)]
LockOut = Annotated[int | None, typer.Option(help="After so many images the model answers no more."), Bounds(0)]
Out = Annotated[Path, typer.Option(help="A folder for records, examples and report.")]
Mean = Annotated[str | None, typer.Option(help="FILE.py models: mean per channel, as 0.485,0.456,0.406.")]
Std = Annotated[str | None, typer.Option(help="FILE.py models: standard deviation per channel.")]
Size = Annotated[str | None, typer.Option(help="FILE.py models: image size, as 224 or HEIGHTxWIDTH.")]
Channels = Annotated[
    int | None, typer.Option(help="FILE.py models: 1 (grey) or 3; 3 when --size is given alone."), Bounds(1)
]
Scale = Annotated[
    float | None,
    typer.Option(
        help="The value of white in arrays and in pictures of more than 8 bits: 4095 for 12 bits, 1 for floats."
    ),
]
Labels = Annotated[
    str | None,
    typer.Option(metavar="FILE.csv", help="Labels of folder: or flat:, a line of file name,label for each picture."),
]
ClassNames = Annotated[
    str | None,
    typer.Option(
        metavar="FILE", help="The names of the model's classes, one per line or JSON, in the order of its outputs."
    ),
]
TargetClass = Annotated[
    str | None,
    typer.Option("--targeted", "--target", metavar="CLASS", help="Make everything this class, by number or name."),
]
Targeted = Annotated[
    str | None,
    typer.Option(
        metavar="CLASS",
        help="Make everything this class, by number or name; or FILE.csv: a line of file name,label,target per image.",
    ),
]
Classes = Annotated[int | None, typer.Option(help="FILE.py models: number of classes."), Bounds(1)]
FalseAcceptRates = Annotated[
    str | None,
    typer.Option(
        "--far",
        metavar="RATE,...",
        help="False accept rates at which thresholds are calibrated; else 0.01,0.001.",
    ),
]
VerificationThreshold = Annotated[
    float | None,
    typer.Option("--threshold", help="A similarity, a cosine or minus a distance, in place of calibrated thresholds."),
]
AttackedPersons = Annotated[
    str | None,
    typer.Option("--attacked", metavar="PERSONS", help="Who is attacked: sub-folders, as ann,bob, or how many."),
]
CalibrationPersons = Annotated[
    str | None,
    typer.Option("--calibration", metavar="PERSONS", help="Who calibrates the thresholds: sub-folders, or how many."),
]
Probes = Annotated[int | None, typer.Option(help="Attacked pictures of each person; 1 when not given."), Bounds(1)]
Rank = Annotated[int | None, typer.Option(help="Of --goal evade: among how many persons; 1 if not given."), Bounds(1)]
Metric = Annotated[
    str | None, typer.Option(help="cosine or euclidean: how the embeddings of a bare network are compared.")
]
Aligned = Annotated[
    bool, typer.Option("--aligned", help="Pictures are aligned faces; else the face is looked for in each.")
]
