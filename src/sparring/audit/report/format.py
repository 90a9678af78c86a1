"""Formatting of numbers for the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ...tasks.report import Cell
from ..records.statistics import Share
from .escaping import plan_text, visible

GAP = "\N{NO-BREAK SPACE}"
NORMS = {"linf": "L∞", "l2": "L2", "l1": "L1", "l0": "L0"}
LIMITS = {
    "Linf": "every color value may change by at most",
    "L2": "the change as a whole may have a Euclidean length of at most",
    "L1": "the changes of all color values may add up to at most",
    "L0": "the number of changed color values is at most",
}
ENDINGS = {
    "EXHAUSTED": "outlasted it",
    "BUDGET": "at the end of the budget",
    "NO_GRADIENT": "with zero gradient",
    "NO_START": "without a starting point",
    "NON_FINITE": "answered with NaN or infinity",
    "NON_FINITE_GRADIENT": "with a gradient of NaN or infinity",
    "UNCONFIRMED": "not confirmed",
}
FELL = {"FOUND", "ALREADY"}


def percent(share: float | None) -> str:
    """Return one decimal; 0 and 100 are written only where they are exact."""
    if share is None:
        return "–"
    if 0 < share < 0.0005:
        return f"<0.1{GAP}%"
    if 0.9995 <= share < 1:
        return f">99.9{GAP}%"
    return f"{100 * share:.1f}{GAP}%"


def interval(share: Share) -> str:
    """Return the two ends of the interval, in percent."""
    return f"{100 * share.low:.1f}–{100 * share.high:.1f}{GAP}%"


def rate_parts(rate: Sequence[float]) -> tuple[str, str]:
    """Return a rate (share, low, high) and its interval in percent, with as many decimals as small ones need."""
    decimals = 1 if rate[2] >= 0.05 else 2 if rate[2] >= 0.005 else 3
    share, low, high = (f"{100 * one:.{decimals}f}" for one in rate)
    return f"{share}{GAP}%", f"[{low}, {high}]"


def cell_text(value: Cell, kind: str) -> str:
    """Return a cell of a task's table as plain text."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if isinstance(value, tuple):
        text = " ".join(rate_parts(value))
    else:
        text = percent(value) if kind == "percent" else counted(value) if kind == "count" else number(value)
    return text.replace(GAP, " ")


def level(confidence: float) -> str:
    """Return a confidence level: 0.95 is `95 %`."""
    return f"{100 * confidence:.4g}{GAP}%"


def grouped(count: int) -> str:
    """Return a count with its thousands apart."""
    return f"{count:,}"


def number(value: float | None) -> str:
    """Three significant digits, without an exponent where the number is of everyday size."""
    if value is None:
        return "–"
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def standing(share: Share) -> str:
    """Return how many of a share's total: a whole number, or one decimal of an expected one."""
    return counted(share.share * share.total)


def counted(count: float) -> str:
    """Return a number of images; one decimal where it is expected and not whole."""
    whole = round(count)
    return grouped(whole) if abs(count - whole) < 1e-6 else f"{count:,.1f}"


def each(total: int, images: int) -> str:
    """`total` spread over `images`."""
    return number(total / images) if images else "–"


def duration(seconds: float) -> str:
    """Return seconds, minutes or hours, as fits."""
    if seconds < 60:
        return f"{seconds:.1f}{GAP}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{GAP}min {rest}{GAP}s"
    return f"{minutes // 60}{GAP}h {minutes % 60}{GAP}min"


def utc_time(text: str) -> str:
    """Return an ISO 8601 time in UTC, to the minute; what cannot be read stays as it is."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return visible(text)
    if when.tzinfo is not None:
        when = when.astimezone(UTC)
    return f"{when.day} {when:%B %Y, %H:%M} UTC"


def symbol(norm: str) -> str:
    """`Linf` or `linf` as `L∞`."""
    return NORMS.get(norm.lower(), visible(norm, 20))


def limit(norm: str, pictures: bool = True, masked: bool = False) -> str:
    """What a ball of this norm allows, up to the radius; `masked`: only some values may change."""
    words = LIMITS.get(norm, "the size of the change is at most")
    words = words if pictures else words.replace("color ", "")
    return words.replace("every", "every free") if masked else words


def left_standing(reasons: Mapping[str, int]) -> list[str]:
    """Why the images that did not fall were given up, the most frequent first."""
    kept = sorted(((n, code) for code, n in reasons.items() if n and code not in FELL), reverse=True)
    return [f"{grouped(n)} {ENDINGS.get(code, visible(code.lower(), 40))}" for n, code in kept]


FILTERS: dict[str, Callable[..., Any]] = {
    "duration": duration,
    "counted": counted,
    "each": each,
    "rate_parts": rate_parts,
    "grouped": grouped,
    "interval": interval,
    "left_standing": left_standing,
    "level": level,
    "limit": limit,
    "utc_time": utc_time,
    "number": number,
    "percent": percent,
    "plan_text": plan_text,
    "standing": standing,
    "symbol": symbol,
    "visible": visible,
}
