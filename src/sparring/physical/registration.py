"""A photograph of a printed sheet, registered by its markers: the artifact as the camera saw it, and the colours.

    photograph = read_photograph("IMG_0001.jpg", sheet_of(artifact))
    photograph.artifact                                              # (3, h, w), to be judged or compared
    printer = fit_printer(torch.tensor(STRIP), photograph.strip)     # what was sent, and what was seen

The page is flat, and the lens draws straight lines: the map from page to photograph is one homography. The middles of
the four markers give it; the ten dots inside them, which it was not fitted to, say how well it holds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage  # type: ignore[import-untyped]
from torch import Tensor

from ..errors import InputError
from ..zoo.pictures import Unreadable, read_picture
from .markers import DOTS, FoundMarker, find_markers
from .sheet import Sheet

Array = NDArray[np.floating[Any]]

OUTLINE = 64  # points around a marker
CORRECTIONS = 3  # of the middles, for the perspective inside a marker
SIZE_ERROR = 0.25  # by how much a disc may differ in area from what the homography says
INNER, POINTS = 0.6, 16  # share of a cell of the strip that is read, and points along its sides
LARGEST_RESIDUAL = 1.5  # millimetres


@dataclass(frozen=True)
class PhotographedSheet:
    """What a photograph of a sheet shows.

    Args:
        artifact: (3, h, w) float32 in [0, 1], in sRGB as the camera has it, upright.
        strip: (27, 3) float32: the colours of the strip, in the order of `sheet.STRIP`.
        homography: (3, 3), millimetres on the page to pixels of the photograph.
        residual_mm: how far the dots inside the markers lie from where the homography says, root mean square.
    """

    artifact: Tensor
    strip: Tensor
    homography: Array
    residual_mm: float


def read_photograph(
    photograph: Path | str | Tensor, sheet: Sheet, *, size: tuple[int, int] | None = None, flatten: bool = True
) -> PhotographedSheet:
    """Find the sheet in a photograph, cut out the artifact and read the strip of colours.

    Args:
        photograph: a picture file, or (3, H, W) float in [0, 1].
        sheet: as `export_pdf` returned it.
        size: height and width in pixels of the artifact that comes back; None: as many as the photograph has of it.
        flatten: divide by the light on the paper, in linear light: a quadratic surface through the white places of the
            sheet. Then the paper is white everywhere, and what remains is the printer and the camera.

    Raises: InputError for what is no photograph, or one in which the sheet is not found.
    """
    pixels = _pixels(photograph)
    gray = pixels.mean(0)
    found = find_markers(gray)
    homography = _homography(sheet, found)
    residual = _residual(sheet, found, homography)
    place = sheet.artifact
    if size is None:
        corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * [place.width, place.height] + [place.left, place.top]
        seen = project(homography, corners)
        sides = np.linalg.norm(np.roll(seen, -1, 0) - seen, axis=1)
        size = (max(1, round(max(sides[1], sides[3]))), max(1, round(max(sides[0], sides[2]))))
    height, width = size
    if not all(isinstance(one, int) and 1 <= one <= 8192 for one in size):
        raise InputError(f"size={size!r:.80} of the artifact; pass height and width in pixels")
    light = _light(pixels, sheet, homography) if flatten else None
    artifact = _read(pixels, homography, *_grid(place.left, place.top, place.width, place.height, height, width), light)
    strip = []
    for cell in sheet.strip:
        edge_x, edge_y = cell.width * (1 - INNER) / 2, cell.height * (1 - INNER) / 2
        inner = (cell.left + edge_x, cell.top + edge_y, cell.width * INNER, cell.height * INNER)
        strip.append(np.median(_read(pixels, homography, *_grid(*inner, POINTS, POINTS), light), axis=(1, 2)))
    return PhotographedSheet(
        torch.from_numpy(artifact).float(), torch.from_numpy(np.stack(strip)).float(), homography, residual
    )


def project(homography: Array, points: Array) -> Array:
    """Return where the points (..., 2) come to under a homography (3, 3)."""
    moved = points @ homography[:, :2].T + homography[:, 2]
    return moved[..., :2] / moved[..., 2:]


def fit_homography(source: Array, goal: Array) -> Array:
    """Return the homography (3, 3) that takes source (n, 2) to goal (n, 2), n >= 4, in least squares (Hartley 1997)."""
    (from_unit, a), (to_unit, b) = _normalized(source), _normalized(goal)
    x, y = a[:, 0], a[:, 1]
    zero, one = np.zeros_like(x), np.ones_like(x)
    across = np.stack((x, y, one, zero, zero, zero, -b[:, 0] * x, -b[:, 0] * y, -b[:, 0]), 1)
    down = np.stack((zero, zero, zero, x, y, one, -b[:, 1] * x, -b[:, 1] * y, -b[:, 1]), 1)
    solved = np.linalg.svd(np.concatenate((across, down)))[2][-1].reshape(3, 3)
    homography = np.linalg.inv(to_unit) @ solved @ from_unit
    return homography / homography[2, 2]  # type: ignore[no-any-return]


def _normalized(points: Array) -> tuple[Array, Array]:
    """A similarity that brings the points around 0 at a distance of sqrt 2, and the points under it."""
    middle = points.mean(0)
    scale = math.sqrt(2) / max(float(np.linalg.norm(points - middle, axis=1).mean()), 1e-12)
    matrix = np.array([[scale, 0, -scale * middle[0]], [0, scale, -scale * middle[1]], [0, 0, 1.0]])
    return matrix, (points - middle) * scale


def _pixels(photograph: Path | str | Tensor) -> Array:
    if isinstance(photograph, Tensor):
        if photograph.ndim != 3 or len(photograph) != 3 or not photograph.is_floating_point():
            raise InputError(f"a photograph is (3, H, W) float in [0, 1]; got {tuple(photograph.shape)}")
        held = photograph
    else:
        try:
            held = read_picture(Path(photograph), None)
        except Unreadable as error:
            raise InputError(f"{photograph} is no photograph: {error}") from error
        except FileNotFoundError as error:
            raise InputError(f"{photograph} does not exist") from error
    pixels: Array = held.detach().cpu().double().numpy()
    if not bool(((pixels >= 0) & (pixels <= 1)).all()):
        raise InputError("the photograph has values outside [0, 1] or NaN; divide 8-bit levels by 255")
    if min(pixels.shape[1:]) < 64:
        raise InputError(f"a photograph of {pixels.shape[2]} x {pixels.shape[1]} pixels is too small for a sheet")
    return pixels


def _homography(sheet: Sheet, found: list[FoundMarker]) -> Array:
    """From millimetres to pixels: discs, of which the centroids in the photograph are known, not the middles."""
    turn = np.linspace(0, 2 * math.pi, OUTLINE, endpoint=False)
    circle = np.stack((np.cos(turn), np.sin(turn)), 1) * sheet.marker_mm / 2
    outlines, seen = sheet.markers[:, None] + circle, np.stack([one.middle for one in found])
    homography = fit_homography(sheet.markers, seen)
    for _ in range(CORRECTIONS):
        shift = np.stack([_area_and_middle(project(homography, each))[1] for each in outlines])
        homography = fit_homography(sheet.markers, seen - (shift - project(homography, sheet.markers)))
    for one, each in zip(found, outlines, strict=True):
        expected = _area_and_middle(project(homography, each))[0]
        if not abs(one.area / expected - 1) < SIZE_ERROR:
            raise InputError(
                f"the marker with {one.code} dots is {one.area / expected:.0%} as large as on this sheet; pass the "
                "sheet that was printed (page_mm), and a photograph of the flat page"
            )
    return homography


def _area_and_middle(polygon: Array) -> tuple[float, Array]:
    """Area and centroid of a polygon (n, 2)."""
    x, y = polygon.T
    after_x, after_y = np.roll(x, -1), np.roll(y, -1)
    cross = x * after_y - after_x * y
    area = cross.sum() / 2
    middle = np.array([((x + after_x) * cross).sum(), ((y + after_y) * cross).sum()]) / (6 * area)
    return abs(float(area)), middle


def _residual(sheet: Sheet, found: list[FoundMarker], homography: Array) -> float:
    """Compare the dots with where they are on the page, in millimetres."""
    back = np.linalg.inv(homography)
    errors = []
    for one, middle in zip(found, sheet.markers, strict=True):
        printed = middle + np.array(DOTS[one.code - 1]) * sheet.marker_mm / 2
        apart = np.linalg.norm(project(back, one.dots)[:, None] - printed[None], axis=2)
        errors.append(apart.min(1))
    residual = float(np.sqrt(np.square(np.concatenate(errors)).mean()))
    if residual > LARGEST_RESIDUAL:
        raise InputError(
            f"the dots of the markers lie {residual:.1f} mm from their places; the page is bent, or another was printed"
        )
    return residual


def _grid(left: float, top: float, width: float, height: float, rows: int, columns: int) -> tuple[Array, int, int]:
    """Points in millimetres, (rows * columns, 2): the middles of cells."""
    x = left + (np.arange(columns) + 0.5) * width / columns
    y = top + (np.arange(rows) + 0.5) * height / rows
    return np.stack(np.meshgrid(x, y), 2).reshape(-1, 2), rows, columns


def _read(pixels: Array, homography: Array, points: Array, rows: int, columns: int, light: Array | None) -> Array:
    """The colours at points (n, 2) of the page, (3, rows, columns), averaged over what lies between the points."""
    seen = project(homography, points).reshape(rows, columns, 2)
    steps = [np.linalg.norm(np.diff(seen, axis=axis), axis=2).max() if seen.shape[axis] > 1 else 1 for axis in (0, 1)]
    many = int(np.clip(math.ceil(max(steps)), 1, 8))
    offsets = (np.arange(many) + 0.5) / many - 0.5
    spacing = [np.ptp(points[:, 1]) / max(rows - 1, 1), np.ptp(points[:, 0]) / max(columns - 1, 1)]
    total: Array = np.zeros((3, rows * columns))
    for down in offsets:
        for across in offsets:
            at = points + np.array([across * spacing[1], down * spacing[0]])
            total += _sampled(pixels, project(homography, at))
    colours: Array = total / many**2
    if light is not None:
        colours = _srgb(_linear(colours) / np.maximum(_surface(points) @ light, 1e-3).T)
    return np.clip(colours, 0, 1).reshape(3, rows, columns)


def _sampled(pixels: Array, places: Array) -> Array:
    at = places.T[::-1]
    return np.stack([ndimage.map_coordinates(plane, at, order=1, mode="nearest") for plane in pixels])


def _light(pixels: Array, sheet: Sheet, homography: Array) -> Array:
    """The coefficients (6, 3) of the light on the paper, a quadratic surface over the page, in linear light."""
    places = project(homography, sheet.paper)
    high, wide = pixels.shape[1:]
    inside = (places >= 1).all(1) & (places[:, 0] < wide - 1) & (places[:, 1] < high - 1)
    white = _linear(_sampled(pixels, places))
    bright = white.mean(0) > 0.3 * np.median(white.mean(0)[inside]) if bool(inside.any()) else inside
    kept = inside & bright
    if kept.sum() < 12:
        raise InputError("too little of the paper around the artifact is in the photograph; take all of the page")
    surface = _surface(sheet.paper)
    return np.linalg.lstsq(surface[kept], white.T[kept], rcond=None)[0]  # type: ignore[no-any-return]


def _surface(points: Array) -> Array:
    x, y = points.T / 100
    return np.stack((np.ones_like(x), x, y, x * x, x * y, y * y), 1)


def _linear(colours: Array) -> Array:
    """SRGB to linear light (IEC 61966-2-1)."""
    return np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)


def _srgb(light: Array) -> Array:
    """Linear light to sRGB; above white is cut off."""
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
