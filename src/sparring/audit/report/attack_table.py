"""The table of attacks in the report: grouped by view, with totals."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from .model import AttackPart

PASSES = ("forwards", "backwards", "checks", "seconds")


def attack_names(rows: Iterable[AttackPart]) -> list[str]:
    """Return every attack that took part, in the order of the cascade."""
    return list(dict.fromkeys(row.attack for row in rows))


def by_view(rows: Iterable[AttackPart]) -> list[tuple[str, list[AttackPart]]]:
    """Return the attacks of each view, in their order; a model without a defense has one view without a name."""
    return [(view, list(group)) for view, group in groupby(rows, key=lambda row: row.view)]


def spent(rows: list[AttackPart]) -> dict[str, float]:
    """Passes, checks and seconds of all attacks together."""
    return {name: sum(getattr(row, name) for row in rows) for name in PASSES}
