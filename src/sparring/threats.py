"""Threats written as texts: `linf:4/255`, `l2:0.5`, `linf:2/255,4/255,8/255`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from .errors import ThreatError, nearest
from .geometry import L0, L1, L2, Ball, Linf

Norm = Literal["Linf", "L2", "L1", "L0"]
BALLS: dict[Norm, type[Ball]] = {"Linf": Linf, "L2": L2, "L1": L1, "L0": L0}
WORDS: dict[str, Norm] = {"linf": "Linf", "l2": "L2", "l1": "L1", "l0": "L0"}
NUMBER = re.compile(r"[+-]?[0-9]{1,12}(\.[0-9]{0,18})?(e[+-]?[0-9]{1,2})?", re.ASCII | re.IGNORECASE)
MOST_RADII = 1000
EXAMPLE = "write NORM:EPS, as linf:4/255, l2:0.5 or linf:2/255,4/255,8/255"


class Radius(BaseModel):
    """An epsilon, and the text it was given in."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    eps: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    text: str


class Threat(BaseModel):
    """A norm and its radii, rising, each once."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    norm: Norm
    radii: Annotated[tuple[Radius, ...], Field(min_length=1)]

    def balls(self) -> list[Ball]:
        """Return one ball per radius."""
        return [BALLS[self.norm](radius.eps) for radius in self.radii]


Threats = str | Ball | Threat | Iterable[str | Ball | Threat]  # as people pass them: one or many


def parse_threat(spec: str) -> Threat:
    """Return the threat that `spec` describes, as "linf:4/255"; ThreatError naming what is wrong in it."""
    word, colon, rest = spec.partition(":")
    norm = parse_norm(word, spec)
    if not colon or not rest.strip():
        raise ThreatError(f"threat {spec!r} has no epsilon; {EXAMPLE}")
    if rest.count(",") >= MOST_RADII:
        raise ThreatError(f"threat {spec[:40]!r}... has {rest.count(',') + 1} radii; name at most {MOST_RADII}")
    return make_threat(norm, [parse_radius(part.strip(), norm, spec) for part in rest.split(",")])


def norm_alone(spec: str) -> Ball | None:
    """Return the ball without a radius that a norm alone means, as "l2": the smallest example; None for other texts."""
    norm = WORDS.get(spec.strip().lower())
    return None if norm is None else BALLS[norm]()


def parse_threat_list(specs: Iterable[str]) -> list[Threat]:
    """Return the threats of several specs, one per norm: the radii of a norm are put together."""
    return merge_threats(parse_threat(spec) for spec in specs)


def listed_threats(given: Threats) -> list[Ball | Threat]:
    """Return the threats of one or of many, each a ball, a `Threat` or a text; ThreatError for anything else."""
    single = isinstance(given, (str, Ball, Threat)) or not isinstance(given, Iterable)
    listed: list[Ball | Threat] = []
    for one in (given,) if single else given:  # type: ignore[union-attr]
        if not isinstance(one, (str, Ball, Threat)):
            kind = f"the class {one.__name__}" if isinstance(one, type) else repr(one)
            raise ThreatError(f"{kind} is no threat; pass balls, as sparring.Linf(4 / 255), or texts, as 'linf:4/255'")
        listed.append((norm_alone(one) or parse_threat(one)) if isinstance(one, str) else one)
    return listed


def merged_threats(given: Iterable[Ball | Threat], widest: float = 1.0) -> list[Threat]:
    """Return threats of balls and threats, one per norm, with the radii of all; ThreatError for a ball without one.

    `widest` is how far two values of an input may lie apart.
    """
    threats = []
    for ball in given:
        if isinstance(ball, Threat):
            threats.append(ball)
            continue
        norm = next((name for name, kind in BALLS.items() if type(ball) is kind), None)
        if norm is None:
            raise ThreatError(f"an audit knows Linf, L2, L1 and L0 balls, not {type(ball).__name__}")
        text = str(ball).partition("(")[2].rstrip(")") or "inf"
        threats.append(make_threat(norm, [check_radius(ball.eps, text, norm, str(ball), widest)]))
    return merge_threats(threats)


def merge_threats(threats: Iterable[Threat]) -> list[Threat]:
    """Return one threat per norm, with the radii of all."""
    together: dict[Norm, list[Radius]] = {}
    for one in threats:
        together.setdefault(one.norm, []).extend(one.radii)
    return [make_threat(norm, radii) for norm, radii in together.items()]


def make_threat(norm: Norm, radii: Iterable[Radius]) -> Threat:
    """Return a threat with its radii sorted, each once."""
    rising = {one.eps: one for one in sorted(radii, key=lambda one: one.eps)}
    if len(rising) > MOST_RADII:
        raise ThreatError(f"{norm} has {len(rising)} radii; name at most {MOST_RADII}")
    return Threat(norm=norm, radii=tuple(rising.values()))


def parse_norm(word: str, spec: str) -> Norm:
    """Return the norm that a word means; ThreatError where it means none."""
    known = WORDS.get(word.strip().lower())
    if known is None:
        raise ThreatError(
            f"threat {spec!r}: {word!r} is no norm ({', '.join(WORDS)}).{nearest(word, WORDS)} Please {EXAMPLE}"
        )
    return known


def parse_radius(text: str, norm: Norm, spec: str) -> Radius:
    """Return the radius of a number or a fraction of two numbers; ThreatError where it is neither."""
    parts = text.split("/")
    if len(parts) > 2 or not all(NUMBER.fullmatch(part.strip()) for part in parts):
        raise ThreatError(f"threat {spec!r}: {text!r} is no number or fraction; {EXAMPLE}")
    numbers = [Fraction(part.strip()) for part in parts]
    if len(numbers) == 2 and numbers[1] == 0:
        raise ThreatError(f"threat {spec!r}: {text!r} divides by zero")
    value = float(numbers[0] if len(numbers) == 1 else numbers[0] / numbers[1])
    return check_radius(value, text, norm, spec)


def check_radius(eps: float, text: str, norm: Norm, spec: str, widest: float = 1.0) -> Radius:
    """Return the radius; ThreatError where it cannot be one for inputs whose values differ by at most `widest`."""
    if not math.isfinite(eps) or eps <= 0:
        raise ThreatError(f"threat {spec!r}: epsilon {text} is not above 0 and finite; {EXAMPLE}")
    if norm == "Linf" and eps > widest:
        levels = f"; for {eps:g} of 255 levels write linf:{eps:g}/255" if eps <= 255 and widest == 1 else ""
        whole = "[0, 1]" if widest == 1 else f"of {widest:g}"
        raise ThreatError(f"threat {spec!r}: epsilon {text} is larger than the whole range {whole}{levels}")
    if norm == "L0" and eps != int(eps):
        raise ThreatError(f"threat {spec!r}: an L0 epsilon counts components, and {text} is not a whole number")
    return Radius(eps=eps, text=text)
