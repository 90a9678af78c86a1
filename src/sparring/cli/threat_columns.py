"""The columns of a matrix of threats: each threat, and unions of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import groupby

from ..errors import ThreatError
from ..geometry import Ball
from ..threats import parse, parse_all
from ..transfer import attacks_within

LISTED = 4  # threats of a union that are named


@dataclass(frozen=True)
class Column:
    """A threat, and how it was typed."""

    norm: str
    text: str
    ball: Ball

    def __str__(self) -> str:
        return f"{self.norm} {self.text}"


@dataclass(frozen=True)
class Columns:
    """The threats, each norm's from small to large, and unions of them; the first union is of all."""

    threats: tuple[Column, ...]
    unions: tuple[tuple[Column, ...], ...]

    @staticmethod
    def typed(threats: list[str], unions: list[str]) -> Columns:
        """Raises ThreatError for what is no threat, and for a union of threats that are not attacked."""
        columns = tuple(
            Column(threat.norm, radius.text, ball)
            for threat in parse_all(threats)
            for radius, ball in zip(threat.radii, threat.balls(), strict=True)
        )
        attacks_within([column.ball for column in columns])
        return Columns(columns, (columns, *(among(columns, union) for union in unions)))

    def by_norm(self) -> list[tuple[str, tuple[str, ...]]]:
        """Each norm with its radii as they were typed."""
        groups = groupby(self.threats, lambda column: column.norm)
        return [(norm, tuple(column.text for column in group)) for norm, group in groups]

    def union_names(self) -> tuple[str, ...]:
        """What each union is called; one threat a line."""
        return ("all", *map(listed, self.unions[1:]))


def among(columns: tuple[Column, ...], union: str) -> tuple[Column, ...]:
    """The columns that `linf:0.3,l2:2,l1:10` names."""
    balls = [ball for spec in re.split(r",(?=[^,:]*:)", union) for ball in parse(spec).balls()]
    missing = [ball for ball in balls if ball not in [column.ball for column in columns]]
    if missing:
        known = ", ".join(map(str, columns))
        raise ThreatError(f"--union {union}: {missing[0]} is not attacked (there are {known}); add it to --threat")
    return tuple(column for column in columns if column.ball in balls)


def listed(union: tuple[Column, ...]) -> str:
    """The threats of a union, one a line."""
    more = [f"and {len(union) - LISTED} more"] if len(union) > LISTED else []
    return "\n".join([*map(str, union[:LISTED]), *more])
