"""Markers on a printed sheet: rings with one, two, three or four dots inside, found in a photograph by their topology.

A black ring around white around k black dots stays just that under perspective, blur and uneven light. The middle of a
marker is the centroid of the whole disc, which a threshold that is too high or too low does not move.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage  # type: ignore[import-untyped]

from ..errors import InputError

Array = NDArray[np.floating[Any]]

RADIUS, HOLE, DOT = 1.0, 0.7, 0.165  # of disc, hole and dot, in units of the disc's radius
DOTS: tuple[tuple[tuple[float, float], ...], ...] = (  # x, y of the dots of each marker, from the top left clockwise
    ((0.0, 0.0),),
    ((-0.31, 0.0), (0.31, 0.0)),
    ((0.0, -0.35), (-0.303, 0.175), (0.303, 0.175)),
    ((-0.275, -0.275), (0.275, -0.275), (-0.275, 0.275), (0.275, 0.275)),
)
THRESHOLDS = (0.5, 0.4, 0.6)  # of the brightness of the paper around
WINDOWS = (10, 5, 20)  # the paper is looked for in squares of the shorter side over this
SMOOTHINGS = (1.0, 0.0)  # pixels: against noise, and for markers that are small
LONGEST = 2400  # pixels of the longer side at which markers are looked for
SMALLEST = 12  # pixels of a marker's bounding box
ROUND = 0.12  # by how much the area may differ from that of the ellipse with the same moments
RING = (0.3, 0.75)  # share of the disc that is ring; 0.51 as printed
PER_CODE = 4  # candidates that are tried


@dataclass(frozen=True)
class FoundMarker:
    """A marker in a photograph."""

    code: int  # dots
    middle: Array  # x, y in pixels
    area: float  # of the disc, in pixels
    dots: Array  # (code, 2) their middles
    error: float  # of its roundness


def draw_marker(code: int, x: Array, y: Array) -> NDArray[np.bool_]:
    """Return where the marker with `code` dots is black, at places x, y in units of its radius from its middle."""
    far = np.hypot(x, y)
    black: NDArray[np.bool_] = (far <= RADIUS) & (far > HOLE)
    for across, down in DOTS[code - 1]:
        black |= np.hypot(x - across, y - down) <= DOT
    return black


def find_markers(gray: Array) -> list[FoundMarker]:
    """Return the four markers, by their number of dots, in a photograph (H, W) of values in [0, 1].

    Raises: InputError where one is not seen, or what is seen is no sheet.
    """
    shrink = max(1, math.ceil(max(gray.shape) / LONGEST))
    height, width = (side // shrink * shrink for side in gray.shape)
    small = gray[:height, :width].reshape(height // shrink, shrink, width // shrink, shrink).mean((1, 3))
    seen: list[set[int]] = []
    for smoothing, window, threshold in product(SMOOTHINGS, WINDOWS, THRESHOLDS):
        smooth = ndimage.gaussian_filter(small, smoothing) if smoothing else small
        side = max(9, min(small.shape) // window)
        paper = ndimage.uniform_filter(ndimage.maximum_filter(smooth, side), side)
        found = _candidates(smooth < threshold * paper)
        seen.append(set(found))
        chosen = _sheet(found) if len(found) == len(DOTS) else None
        if chosen is not None:
            return [_enlarged(marker, shrink) for marker in chosen]
    most = max(seen, key=len)
    if len(most) == len(DOTS):
        raise InputError("the markers are there, but not as the corners of a sheet: the photograph may be mirrored")
    missing = ", ".join(str(code) for code in range(1, len(DOTS) + 1) if code not in most)
    raise InputError(
        f"the markers with {missing} dots are not found in the photograph; take it so that all four corners are sharp, "
        "unshaded, and at least 20 pixels wide each"
    )


def _candidates(black: NDArray[np.bool_]) -> dict[int, list[FoundMarker]]:
    """All markers with each number of dots, the roundest first."""
    labels, _ = ndimage.label(black, np.ones((3, 3)))
    found: dict[int, list[FoundMarker]] = {}
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        sides = [part.stop - part.start for part in box]
        if min(sides) < SMALLEST or max(sides) > 4 * min(sides) or max(sides) > min(black.shape) / 2:
            continue
        marker = _marker(labels[box] == number, black[box])
        if marker is not None:
            corner = np.array([box[1].start, box[0].start], dtype=float)
            moved = FoundMarker(marker.code, marker.middle + corner, marker.area, marker.dots + corner, marker.error)
            found.setdefault(marker.code, []).append(moved)
    return {code: sorted(each, key=lambda one: one.error)[:PER_CODE] for code, each in found.items()}


def _marker(ring: NDArray[np.bool_], black: NDArray[np.bool_]) -> FoundMarker | None:
    disc = ndimage.binary_fill_holes(ring)
    area = float(disc.sum())
    if not RING[0] < ring.sum() / area < RING[1]:
        return None
    rows, columns = np.nonzero(disc)
    spread = np.cov(np.stack((columns, rows)), bias=True) + np.eye(2) / 12
    error = abs(area / (4 * math.pi * math.sqrt(np.linalg.det(spread))) - 1)
    if error > ROUND:
        return None
    inside, count = ndimage.label(black & disc & ~ring, np.ones((3, 3)))
    numbers = [one for one in range(1, count + 1) if (inside == one).sum() > 0.2 * DOT**2 * area]
    if not 1 <= len(numbers) <= len(DOTS):
        return None
    dots = np.array(ndimage.center_of_mass(inside > 0, inside, numbers))[:, ::-1]
    return FoundMarker(len(numbers), np.array([columns.mean(), rows.mean()]), area, dots, error)


def _sheet(found: dict[int, list[FoundMarker]]) -> tuple[FoundMarker, ...] | None:
    """The roundest four that are corners of a convex quadrilateral, clockwise as on the sheet, and of like size."""
    best, least = None, math.inf
    for four in product(*(found[code] for code in range(1, len(DOTS) + 1))):
        corners = np.stack([one.middle for one in four])
        edges = np.roll(corners, -1, 0) - corners
        after = np.roll(edges, -1, 0)
        turns = edges[:, 0] * after[:, 1] - edges[:, 1] * after[:, 0]
        areas = [one.area for one in four]
        error = sum(one.error for one in four)
        if bool((turns > 0).all()) and max(areas) < 8 * min(areas) and error < least:
            best, least = four, error
    return best


def _enlarged(marker: FoundMarker, factor: int) -> FoundMarker:
    """The marker in pixels of the photograph before it was shrunk."""
    middle, dots = ((place + 0.5) * factor - 0.5 for place in (marker.middle, marker.dots))
    return FoundMarker(marker.code, middle, marker.area * factor**2, dots, marker.error)
