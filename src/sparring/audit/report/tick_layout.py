"""Layout of the labels in a drawing, so that none overlaps another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

LETTER = 6.6  # width of a letter of the tick labels, about
NICE = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis."""

    at: float
    text: str
    anchor: str = "middle"


def apart(ticks: Sequence[Tick]) -> tuple[Tick, ...]:
    """Return the ticks whose texts do not run into each other; the last one always stays."""
    kept: list[Tick] = []
    for tick in reversed(ticks):
        room = LETTER * (len(tick.text) + len(kept[-1].text)) / 2 + 6 if kept else 0.0
        if not kept or kept[-1].at - tick.at >= room:
            kept.append(tick)
    return tuple(reversed(kept))


def free(corners: Sequence[tuple[float, float]], width: float, height: float) -> list[bool]:
    """Return which of the words at these places have room; the last one always has, the others in their order."""
    taken: list[tuple[float, float]] = []
    found = [False] * len(corners)
    for i in [len(corners) - 1, *range(len(corners) - 1)][: len(corners)]:
        left, top = corners[i]
        found[i] = all(abs(left - x) > width or abs(top - y) > height for x, y in taken)
        taken += [corners[i]] if found[i] else []
    return found


def even(widest: float, most: int = 6) -> list[float]:
    """Round numbers from 0 to `widest`, evenly spaced, no more than `most` steps."""
    scale = 10 ** math.floor(math.log10(widest / most))
    step = next(scale * nice for nice in NICE if widest / (scale * nice) <= most)
    return [step * i for i in range(int(widest / step + 1e-9) + 1)]
