"""A plot of a task's section, as coordinates of an inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from ...tasks import Axis, Plot
from .curve import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH
from .format import number
from .tick_layout import Tick, apart, even

STYLES = 6  # lines that look different
SHARES = (0.0001, 0.001, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99, 0.999)  # ticks of normal deviates
LEAST = 1e-12


@dataclass(frozen=True)
class DrawnLine:
    """A line of a plot: its points as SVG has them, and the number of its style."""

    name: str
    points: str
    style: int
    dashed: bool


@dataclass(frozen=True)
class DrawnPlot:
    """A plot with the places of its lines and ticks."""

    plot: Plot
    lines: tuple[DrawnLine, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]

    @property
    def description(self) -> str:
        """The plot in words, for whom it is read out."""
        axes = f"{self.plot.y.name} against {self.plot.x.name}"
        return f"{axes}: {', '.join(line.name for line in self.plot.lines)}. {self.plot.note}".strip()


def drawn_plot(plot: Plot) -> DrawnPlot:
    """Return the places of a plot's lines and ticks."""
    lines = tuple(
        DrawnLine(line.name, " ".join(_point(plot, x, y) for x, y in _finite(line.x, line.y)), i % STYLES, line.dashed)
        for i, line in enumerate(plot.lines)
    )
    across = [Tick(_across(plot.x, value), _text(plot.x, value)) for value in ticks(plot.x)]
    down = [Tick(_down(plot.y, value), _text(plot.y, value)) for value in ticks(plot.y)]
    return DrawnPlot(plot, lines, apart(across), tuple(down))


def ticks(axis: Axis) -> list[float]:
    """Return the values at which an axis has ticks, ascending."""
    if axis.scale == "normal":
        return [share for share in SHARES if axis.low <= share <= axis.high]
    if axis.scale == "log":
        first, last = math.ceil(math.log10(axis.low) - 1e-9), math.floor(math.log10(axis.high) + 1e-9)
        return [10.0**power for power in range(first, last + 1)]
    width = axis.high - axis.low
    step = max(even(width)[1], 1.0) if axis.whole else even(width)[1]
    begin = math.ceil(axis.low / step - 1e-9)
    return [step * place for place in range(begin, math.floor(axis.high / step + 1e-9) + 1)]


def _finite(x: Sequence[float], y: Sequence[float]) -> list[tuple[float, float]]:
    return [(a, b) for a, b in zip(x, y, strict=True) if math.isfinite(a) and math.isfinite(b)]


def _point(plot: Plot, x: float, y: float) -> str:
    return f"{_across(plot.x, x):.2f},{_down(plot.y, y):.2f}"


def _across(axis: Axis, value: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * _share(axis, value)


def _down(axis: Axis, value: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - _share(axis, value))


def _share(axis: Axis, value: float) -> float:
    """Return the place of a value between the ends of an axis, in [0, 1]."""
    value = min(max(value, axis.low), axis.high)
    low, high, place = (_scaled(axis, one) for one in (axis.low, axis.high, value))
    return (place - low) / (high - low)


def _scaled(axis: Axis, value: float) -> float:
    if axis.scale == "linear":
        return value
    value = max(value, LEAST)
    return math.log10(value) if axis.scale == "log" else NormalDist().inv_cdf(min(value, 1 - LEAST))


def _text(axis: Axis, value: float) -> str:
    return number(round(100 * value, 9)) if axis.percent else number(round(value, 9))
