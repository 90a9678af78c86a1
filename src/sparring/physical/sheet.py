"""A sheet of paper with an artifact in true size, four markers, a strip of colours and a ruler; as PDF, and as pixels.

Print it at 100 % ("actual size"), cut the artifact out after photographing the sheet, or leave it. A photograph of the
sheet is read again by `read_photograph`.
"""

from __future__ import annotations

import io
import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InputError
from ..files import written_beside
from .markers import DOT, DOTS, HOLE, draw_marker
from .printed import MM_PER_INCH, PrintedArtifact

Array = NDArray[np.floating[Any]]

LEVELS = (0.0, 0.5, 1.0)
STRIP = tuple(itertools.product(LEVELS, repeat=3))  # the 27 colours of the strip, from black to white
PRINT_DPI = 300.0  # a pixel of the artifact is repeated until there are as many
POINTS_PER_INCH = 72.0
A4 = (210.0, 297.0)
CORNER_ORDER = ((0, 0), (1, 0), (1, 1), (0, 1))  # of the markers with 1, 2, 3 and 4 dots: right, down


@dataclass(frozen=True)
class Rectangle:
    """A rectangle on a page, in millimetres from its top left corner."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class Sheet:
    """Where everything lies on a page.

    Args:
        width_mm, height_mm: of the artifact.
        page_mm: width and height of the page; A4.
        marker_mm: the diameter of a marker.
        margin_mm: what printers leave white along the edges.

    Raises: InputError where the artifact does not fit between the markers.
    """

    width_mm: float
    height_mm: float
    page_mm: tuple[float, float] = A4
    marker_mm: float = 16.0
    margin_mm: float = 10.0
    gap_mm: float = 5.0

    def __post_init__(self) -> None:
        numbers = (self.width_mm, self.height_mm, *self.page_mm, self.marker_mm, self.margin_mm, self.gap_mm)
        if not all(isinstance(one, int | float) and math.isfinite(one) and one > 0 for one in numbers):
            raise InputError(f"a sheet has sizes in millimetres, above 0; got {numbers}")
        wide = self.page_mm[0] - 2 * self.margin_mm
        high = self.page_mm[1] - 2 * (self.margin_mm + self.marker_mm + self.gap_mm)
        if self.width_mm > wide or self.height_mm > high:
            raise InputError(
                f"an artifact of {self.width_mm:.0f} x {self.height_mm:.0f} mm does not fit on a page of "
                f"{self.page_mm[0]:.0f} x {self.page_mm[1]:.0f} mm, which has room for {wide:.0f} x {high:.0f}; pass a "
                "larger page_mm, or export the artifact smaller"
            )
        if self.strip[0].width < 1:
            raise InputError(f"a page of {self.page_mm[0]:.0f} mm is too narrow for the strip; pass a larger page_mm")

    @property
    def artifact(self) -> Rectangle:
        """The place of the artifact."""
        left, top = ((page - own) / 2 for page, own in zip(self.page_mm, (self.width_mm, self.height_mm), strict=True))
        return Rectangle(left, top, self.width_mm, self.height_mm)

    @property
    def markers(self) -> Array:
        """The middles (4, 2) of the markers with 1 to 4 dots, x and y in millimetres: clockwise from top left."""
        reach = self.margin_mm + self.marker_mm / 2
        ends = [(reach, page - reach) for page in self.page_mm]
        return np.array([[ends[0][right], ends[1][down]] for right, down in CORNER_ORDER])

    @property
    def strip(self) -> tuple[Rectangle, ...]:
        """The places of the 27 colours, between the markers at the bottom."""
        start = self.margin_mm + self.marker_mm + self.gap_mm
        width = (self.page_mm[0] - 2 * start) / len(STRIP)
        top = self.page_mm[1] - self.margin_mm - self.marker_mm
        return tuple(Rectangle(start + place * width, top, width, self.marker_mm) for place in range(len(STRIP)))

    @property
    def ruler(self) -> Rectangle:
        """A line of 100 mm at the top, or as long as there is room."""
        start = self.margin_mm + self.marker_mm + self.gap_mm
        length = min(100.0, 10 * ((self.page_mm[0] - 2 * start) // 10))
        return Rectangle((self.page_mm[0] - length) / 2, self.margin_mm + self.marker_mm / 2, length, 0.5)

    @property
    def paper(self) -> Array:
        """Places (n, 2) where the paper is white, x and y in millimetres: around markers, strip and artifact."""
        across, down = self.page_mm
        edge, row = self.margin_mm / 2, self.margin_mm + self.marker_mm + self.gap_mm / 2
        lines = [(x, y) for x in np.linspace(edge, across - edge, 7) for y in (edge, row, down - row, down - edge)]
        sides = [(x, y) for x in (edge, across - edge) for y in np.linspace(row, down - row, 7)[1:-1]]
        return np.array(lines + sides)


def sheet_of(artifact: PrintedArtifact, *, page_mm: tuple[float, float] = A4) -> Sheet:
    """Return the sheet for an artifact."""
    return Sheet(artifact.width_mm, artifact.height_mm, page_mm)


def export_pdf(path: Path | str, artifact: PrintedArtifact, *, page_mm: tuple[float, float] = A4) -> Sheet:
    """Write the sheet of an artifact as a PDF of one page in true size, and return where everything lies on it.

    The pixels of the artifact are repeated until there are 300 to an inch, so that no viewer or printer smooths them;
    nothing is compressed with losses.

    Raises: InputError where the artifact does not fit, RunError where the disk does not take the file.
    """
    path = Path(path)
    if path.suffix.lower() != ".pdf":
        raise InputError(f"{path} is to be a PDF; call it {path.with_suffix('.pdf').name}")
    sheet = sheet_of(artifact, page_mm=page_mm)
    content = _pdf(sheet, artifact)
    with written_beside(path, "choose another file") as partial:
        partial.write_bytes(content)
    return sheet


def _pdf(sheet: Sheet, artifact: PrintedArtifact) -> bytes:
    from matplotlib import rc_context
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.figure import Figure
    from matplotlib.patches import Circle
    from matplotlib.patches import Rectangle as Patch

    wide, high = sheet.page_mm
    with rc_context({"pdf.compression": 6, "pdf.fonttype": 42}):
        figure = Figure(figsize=(wide / MM_PER_INCH, high / MM_PER_INCH), dpi=POINTS_PER_INCH)
        FigureCanvasPdf(figure)
        page = figure.add_axes((0, 0, 1, 1))
        page.set_axis_off()
        place = sheet.artifact
        repeat = max(1, math.ceil(PRINT_DPI / artifact.dpi))
        pixels = printed_pixels(artifact).permute(1, 2, 0).numpy().repeat(repeat, 0).repeat(repeat, 1)
        ends = (place.left, place.left + place.width, place.top + place.height, place.top)
        page.imshow(pixels, extent=ends, interpolation="none", aspect="auto")
        for code, middle in enumerate(sheet.markers, start=1):
            size = sheet.marker_mm / 2
            rings = [((0.0, 0.0), 1.0, "black"), ((0.0, 0.0), HOLE, "white")]
            for offset, radius, colour in [*rings, *((dot, DOT, "black") for dot in DOTS[code - 1])]:
                at = (middle[0] + offset[0] * size, middle[1] + offset[1] * size)
                page.add_patch(Circle(at, radius * size, facecolor=colour, linewidth=0))
        for cell, shade in zip(sheet.strip, STRIP, strict=True):
            page.add_patch(Patch((cell.left, cell.top), cell.width, cell.height, facecolor=shade, linewidth=0))
        ruler = sheet.ruler
        page.add_patch(Patch((ruler.left, ruler.top), ruler.width, ruler.height, facecolor="black", linewidth=0))
        words = f"{ruler.width:.0f} mm - print at 100 %  |  {artifact}  |  sha256 {artifact.sha256[:16]}"
        page.text(wide / 2, ruler.top - 2, words, size=6, ha="center", va="bottom", parse_math=False)
        page.set_xlim(0, wide)
        page.set_ylim(high, 0)
        held = io.BytesIO()
        figure.savefig(held, format="pdf", dpi=POINTS_PER_INCH, metadata={"CreationDate": None})
    return held.getvalue()


def render_sheet(sheet: Sheet, artifact: PrintedArtifact, dpi: float = 150.0, *, samples: int = 3) -> Tensor:
    """Return the printed page (3, H, W) in [0, 1] as a scanner would see it, without the text.

    Args:
        dpi: pixels per inch of the result.
        samples: points along each side of a pixel that are averaged.

    Raises: InputError for a resolution that makes a page of over 10^8 points.
    """
    wide, high = (round(side / MM_PER_INCH * dpi) for side in sheet.page_mm)
    if min(wide, high) < 1 or wide * high * samples**2 > 10**8:
        raise InputError(f"dpi={dpi:g} and samples={samples} make {wide} x {high} pixels; pass a lower dpi")
    x = (np.arange(wide * samples) + 0.5) * (sheet.page_mm[0] / (wide * samples))
    y = (np.arange(high * samples) + 0.5) * (sheet.page_mm[1] / (high * samples))
    page = np.ones((high * samples, wide * samples, 3), dtype=np.float32)
    place = sheet.artifact
    rows, columns = _within(y, place.top, place.height), _within(x, place.left, place.width)
    pixels = printed_pixels(artifact).permute(1, 2, 0).numpy()
    down = ((y[rows] - place.top) / place.height * pixels.shape[0]).astype(int)
    across = ((x[columns] - place.left) / place.width * pixels.shape[1]).astype(int)
    page[rows, columns] = pixels[down[:, None], across[None]]
    for cell, colour in zip(sheet.strip, STRIP, strict=True):
        page[_within(y, cell.top, cell.height), _within(x, cell.left, cell.width)] = colour
    ruler = sheet.ruler
    page[_within(y, ruler.top, ruler.height), _within(x, ruler.left, ruler.width)] = 0
    radius = sheet.marker_mm / 2
    for code, (across_mm, down_mm) in enumerate(sheet.markers, start=1):
        rows, columns = (_within(line, at - radius, 2 * radius) for line, at in ((y, down_mm), (x, across_mm)))
        black = draw_marker(code, (x[columns] - across_mm)[None] / radius, (y[rows] - down_mm)[:, None] / radius)
        page[rows, columns][black] = 0
    shaped = page.reshape(high, samples, wide, samples, 3).mean((1, 3))
    return torch.from_numpy(shaped).permute(2, 0, 1).contiguous()


def printed_pixels(artifact: PrintedArtifact) -> Tensor:
    """Return the artifact (3, h, w) on white paper: white where it is to be cut away."""
    return artifact.image * artifact.alpha + 1 - artifact.alpha


def _within(line: Array, start: float, length: float) -> slice:
    return slice(int(np.searchsorted(line, start)), int(np.searchsorted(line, start + length)))
