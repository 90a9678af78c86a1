"""A strip of the gallery as a figure: one column for each example."""

from __future__ import annotations

import warnings
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import RunError
from .escaping import visible
from .model import GalleryPart, PredictedValue
from .pictures import picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

PAGE = 6.9  # inches
TEXT = 6.0  # points
LOUD = "#a53a12"
LARGEST = 16_000_000  # pixels of a picture
LETTERS = 18  # of a name above a picture


def blank(width: float, height: float) -> Figure:
    """Return a figure of so many inches that needs no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def strip(run: Path, parts: list[GalleryPart]) -> Figure:
    """Return one column for each example, each with pictures: original, perturbation, adversarial example."""
    figure = blank(min(PAGE, 0.35 + 1.1 * len(parts)), 4.1)
    rows = figure.subplots(3, len(parts), squeeze=False, gridspec_kw={"wspace": 0.06, "hspace": 0.06})
    for place, part in enumerate(parts):
        column = (part.original, part.perturbation, part.adversarial)
        words = (_said(part.before), f"× {part.magnification:.3g}", "")
        for axes, name, word in zip(rows[:, place], column, words, strict=True):
            assert name is not None
            axes.imshow(_decoded(run, name), cmap="gray", vmin=0, vmax=255, interpolation="none", aspect="equal")
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
            axes.set_title(word, fontsize=TEXT, pad=2, parse_math=False)
        rows[2, place].set_xlabel(_said(part.after), fontsize=TEXT, labelpad=2, color=LOUD, parse_math=False)
    for axes, word in zip(rows[:, 0], ("original", "perturbation", "adversarial"), strict=True):
        axes.set_ylabel(word, fontsize=TEXT + 1)
    return figure


def _said(values: dict[str, PredictedValue]) -> str:
    """Return the first two things that the task says, the class of a classifier without its word."""
    words = [
        one.text if one.kind == "class" or name == "confidence" else f"{name.replace('_', ' ')} {one.text}"
        for name, one in list(values.items())[:2]
    ]
    return "\n".join(visible(word, LETTERS) for word in words)


def _decoded(run: Path, name: str) -> Image:
    """Return the picture; RunError where it is damaged, or so large that it was not made by an audit."""
    from PIL import Image, UnidentifiedImageError

    content = BytesIO(picture(run, name))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # refused in our words below
            image = Image.open(content, formats=["PNG"])
        if image.width * image.height > LARGEST:
            size = f"{image.width} x {image.height}"
            raise RunError(f"picture {name!r} of the run {run} has {size} pixels: run the audit again")
        return image.convert("L" if image.mode == "L" else "RGB")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError) as error:
        raise RunError(f"picture {name!r} of the run {run} is damaged ({error}); run the audit again") from error
