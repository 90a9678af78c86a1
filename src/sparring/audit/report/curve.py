"""The curve of robust accuracy against eps, as coordinates of an inline SVG."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..records.statistics import Share
from .escaping import visible
from .format import interval, number, percent, standing
from .model import CurvePoint, ThreatPart
from .tick_layout import LETTER, Tick, apart, even, free

WIDTH, HEIGHT = 440, 300
LEFT, RIGHT, TOP, BOTTOM = 46, 22, 20, 46
SHORT = 10
MANY = 12  # dots of a line that is drawn with small ones
VALUE_WIDTH, VALUE_HEIGHT = 42, 15
DENSE_HEIGHT = 45


@dataclass(frozen=True)
class CurveDot:
    """One measured radius. `value` is empty where there is no room to write it."""

    x: float
    y: float
    low: float
    high: float
    eps_text: str
    share: Share
    value: str
    anchor: str
    description: str


@dataclass(frozen=True)
class ViewLine:
    """The line of another view of the same model: an attacker who knows less."""

    name: str
    line: str
    description: str


@dataclass(frozen=True)
class CertifiedLine:
    """The shares that are proven, and the polygon of what is open, between them and the curve."""

    dots: tuple[CurveDot, ...]
    line: str
    open: str


@dataclass(frozen=True)
class CurvePanel:
    """The drawing of one norm's curve: dots, line, interval band, certified and other lines, and axis ticks."""

    norm: str
    dots: tuple[CurveDot, ...]
    line: str
    band: str
    others: tuple[ViewLine, ...]
    certified: CertifiedLine | None
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    description: str
    dense: bool

    def proven_at(self, dot: CurveDot) -> float | None:
        """Return the share that is proven at the radius of a dot of the curve; None where none is known."""
        proven = {one.x: one.share.share for one in self.certified.dots} if self.certified else {}
        return proven.get(dot.x)


def curve_panel(threat: ThreatPart) -> CurvePanel:
    """Return the drawing of one threat's curve: eps to the right from 0, share upwards from 0 to 100 %."""
    points = sorted(threat.curve, key=lambda point: point.eps)
    widest = max((point.eps for point in points), default=0) or 1.0
    texts = {} if threat.smallest else {part.eps: part.eps_text for part in threat.epsilons}
    dots = _legible([_dot(point, widest, texts) for point in points])
    upper = [f"{dot.x:.2f},{dot.high:.2f}" for dot in dots]
    lower = [f"{dot.x:.2f},{dot.low:.2f}" for dot in reversed(dots)]
    certified = _certified(threat, dots, widest, texts)
    return CurvePanel(
        norm=threat.norm,
        dots=dots,
        line=" ".join(f"{dot.x:.2f},{dot.y:.2f}" for dot in dots),
        band=" ".join(upper + lower),
        others=_others(threat, points, widest),
        certified=certified,
        x_ticks=apart(_ticks(dots, widest)),
        y_ticks=tuple(Tick(_down(step / 4), f"{25 * step}") for step in range(5)),
        description=" ".join(f"{dot.description}." for dot in (*dots, *(certified.dots if certified else ()))),
        dense=len(dots) > MANY,
    )


def _others(threat: ThreatPart, points: list[CurvePoint], widest: float) -> tuple[ViewLine, ...]:
    """Return the lines of all views but the last, which is the curve itself."""
    names = [view.name for part in threat.epsilons[:1] for view in part.views[:-1]]
    begin = [(point.eps, point.robust_accuracy) for point in points if point.eps == 0]
    lines = []
    for i, name in enumerate(names):
        shares = begin + [(part.eps, part.views[i].robust_accuracy) for part in threat.epsilons if i < len(part.views)]
        places = [f"{_across(eps, widest):.2f},{_down(share.share):.2f}" for eps, share in shares]
        description = ", ".join(f"{percent(share.share)} at eps {number(eps)}" for eps, share in shares)
        lines.append(ViewLine(name, " ".join(places), f"{visible(name, 40)} attacker: {description}"))
    return tuple(lines)


def _certified(
    threat: ThreatPart, curve: tuple[CurveDot, ...], widest: float, texts: dict[float, str]
) -> CertifiedLine | None:
    """Return the certified line below the curve; None where the threat has no certificates."""
    proven = [CurvePoint(eps=p.eps, robust_accuracy=p.certificates.proven) for p in threat.epsilons if p.certificates]
    if not proven:
        return None
    dots = tuple(_beneath(_dot(point, widest, texts), curve) for point in proven)
    line = [f"{dot.x:.2f},{dot.y:.2f}" for dot in (curve[0], *dots)]
    return CertifiedLine(dots, " ".join(line), " ".join([f"{dot.x:.2f},{dot.y:.2f}" for dot in curve] + line[::-1]))


def _beneath(dot: CurveDot, curve: tuple[CurveDot, ...]) -> CurveDot:
    """Return the dot of a proven share, without its value where there is no room below the curve's own."""
    room = any(one.x == dot.x and dot.y - one.y >= VALUE_HEIGHT for one in curve)
    return replace(dot, value=dot.value if room else "", description=f"proven at {dot.description}")


def _dot(point: CurvePoint, widest: float, texts: dict[float, str]) -> CurveDot:
    share = point.robust_accuracy
    text = texts.get(point.eps, number(point.eps))
    place = _across(point.eps, widest)
    return CurveDot(
        x=place,
        y=_down(share.share),
        low=_down(share.low),
        high=_down(share.high),
        eps_text=text,
        share=share,
        value=percent(share.share),
        anchor="end" if place > WIDTH - RIGHT - 30 else "start",
        description=_describe(text, share),
    )


def _ticks(dots: tuple[CurveDot, ...], widest: float) -> list[Tick]:
    """Return a tick below each dot; of many dots, round numbers."""
    if len(dots) > MANY:
        return [Tick(_across(eps, widest), number(eps)) for eps in even(widest)]
    return [_tick(dot) for dot in dots]


def _tick(dot: CurveDot) -> Tick:
    text = visible(dot.eps_text, SHORT)
    inside = dot.x + LETTER * len(text) / 2 < WIDTH
    return Tick(dot.x, text, "middle" if inside else "end")


def _legible(dots: list[CurveDot]) -> tuple[CurveDot, ...]:
    """Return the dots, those without room for their value muted; the last one keeps its value."""
    corners = [(dot.x - (VALUE_WIDTH + 7 if dot.anchor == "end" else -7), dot.y) for dot in dots]
    room = free(corners, VALUE_WIDTH, DENSE_HEIGHT if len(dots) > MANY else VALUE_HEIGHT)
    return tuple(dot if has else replace(dot, value="") for dot, has in zip(dots, room, strict=True))


def _describe(eps_text: str, share: Share) -> str:
    return (
        f"eps {visible(eps_text, 40)}: {percent(share.share)}, "
        f"{standing(share)} of {share.total} images, interval {interval(share)}"
    )


def _across(eps: float, widest: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * eps / widest


def _down(share: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - share)
