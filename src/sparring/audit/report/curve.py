"""The curve of robust accuracy against eps, as coordinates of an inline SVG."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..report_model import CurvePoint, Share, ThreatPart
from .words import interval, number, percent, visible

WIDTH, HEIGHT = 440, 300
LEFT, RIGHT, TOP, BOTTOM = 46, 22, 20, 46
LETTER = 6.6  # width of a letter of the tick labels, about
SHORT = 10
VALUE_WIDTH, VALUE_HEIGHT = 42, 15


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis."""

    at: float
    text: str
    anchor: str = "middle"


@dataclass(frozen=True)
class Dot:
    """One measured radius. `value` is empty where there is no room to write it."""

    x: float
    y: float
    low: float
    high: float
    eps_text: str
    share: Share
    value: str
    anchor: str
    told: str


@dataclass(frozen=True)
class Panel:
    """One norm's curve."""

    norm: str
    dots: tuple[Dot, ...]
    line: str
    band: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    told: str


def panel(threat: ThreatPart) -> Panel:
    """The drawing of one threat's curve: eps to the right from 0, share upwards from 0 to 100 %."""
    points = sorted(threat.curve, key=lambda point: point.eps)
    widest = max((point.eps for point in points), default=0) or 1.0
    texts = {part.eps: part.eps_text for part in threat.epsilons}
    dots = _legible([_dot(point, widest, texts) for point in points])
    upper = [f"{dot.x:.2f},{dot.high:.2f}" for dot in dots]
    lower = [f"{dot.x:.2f},{dot.low:.2f}" for dot in reversed(dots)]
    return Panel(
        norm=threat.norm,
        dots=dots,
        line=" ".join(f"{dot.x:.2f},{dot.y:.2f}" for dot in dots),
        band=" ".join(upper + lower),
        x_ticks=_apart([_tick(dot) for dot in dots]),
        y_ticks=tuple(Tick(_down(step / 4), f"{25 * step}") for step in range(5)),
        told=" ".join(f"{dot.told}." for dot in dots),
    )


def _dot(point: CurvePoint, widest: float, texts: dict[float, str]) -> Dot:
    share = point.robust_accuracy
    text = texts.get(point.eps, number(point.eps))
    place = LEFT + (WIDTH - LEFT - RIGHT) * point.eps / widest
    return Dot(
        x=place,
        y=_down(share.share),
        low=_down(share.low),
        high=_down(share.high),
        eps_text=text,
        share=share,
        value=percent(share.share),
        anchor="end" if place > WIDTH - RIGHT - 30 else "start",
        told=_told(text, share),
    )


def _tick(dot: Dot) -> Tick:
    text = visible(dot.eps_text, SHORT)
    inside = dot.x + LETTER * len(text) / 2 < WIDTH
    return Tick(dot.x, text, "middle" if inside else "end")


def _legible(dots: list[Dot]) -> tuple[Dot, ...]:
    """The dots, those without room for their value muted; the last one keeps its value."""
    taken: list[tuple[float, float]] = []
    kept: list[Dot] = []
    for dot in [*dots[-1:], *dots[:-1]]:
        corner = (dot.x - (VALUE_WIDTH + 7 if dot.anchor == "end" else -7), dot.y)
        free = all(abs(corner[0] - x) > VALUE_WIDTH or abs(corner[1] - y) > VALUE_HEIGHT for x, y in taken)
        kept.append(dot if free else replace(dot, value=""))
        taken += [corner] if free else []
    return (*kept[1:], *kept[:1])


def _told(eps_text: str, share: Share) -> str:
    return (
        f"eps {visible(eps_text, 40)}: {percent(share.share)}, "
        f"{share.count} of {share.total} images, interval {interval(share)}"
    )


def _down(share: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - share)


def _apart(ticks: list[Tick]) -> tuple[Tick, ...]:
    """The ticks whose texts do not run into each other; the last one always stays."""
    kept: list[Tick] = []
    for tick in reversed(ticks):
        room = LETTER * (len(tick.text) + len(kept[-1].text)) / 2 + 6 if kept else 0.0
        if not kept or kept[-1].at - tick.at >= room:
            kept.append(tick)
    return tuple(reversed(kept))
