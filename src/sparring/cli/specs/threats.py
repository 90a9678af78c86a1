"""Parsing of `--threat` and `--union` into the columns of a matrix of threats."""

from __future__ import annotations

import re

from ...errors import ThreatError
from ...experiments.generalization import ThreatColumn, ThreatColumns
from ...threats import parse_threat, parse_threat_list
from ...transfer import attacks_within


def parse_columns(threats: list[str], unions: list[str]) -> ThreatColumns:
    """Parse the threats and the unions of them; the first union is of all.

    Raises: ThreatError for what is no threat, and for a union of threats that are not attacked.
    """
    columns = tuple(
        ThreatColumn(threat.norm, radius.text, ball)
        for threat in parse_threat_list(threats)
        for radius, ball in zip(threat.radii, threat.balls(), strict=True)
    )
    attacks_within([column.ball for column in columns])
    return ThreatColumns(columns, (columns, *(parse_union(columns, union) for union in unions)))


def parse_union(columns: tuple[ThreatColumn, ...], union: str) -> tuple[ThreatColumn, ...]:
    """Return the columns that `linf:0.3,l2:2,l1:10` names."""
    balls = [ball for spec in re.split(r",(?=[^,:]*:)", union) for ball in parse_threat(spec).balls()]
    missing = [ball for ball in balls if ball not in [column.ball for column in columns]]
    if missing:
        known = ", ".join(map(str, columns))
        raise ThreatError(f"--union {union}: {missing[0]} is not attacked (there are {known}); add it to --threat")
    return tuple(column for column in columns if column.ball in balls)
