"""The table of classes in the report: lowest robust accuracy first, with a limited number of rows."""

from __future__ import annotations

from dataclasses import dataclass

from .format import counted
from .model import ClassPart, Report

MOST = 1000  # rows that the page has; report.json has all
FIRST = 20  # rows that are shown before all are asked for
NOTCHES = 20  # of a cell's bar


@dataclass(frozen=True)
class ClassCell:
    """A share of a class (in [0, 1]), the count of images not broken as text, and the length of its bar."""

    share: float
    count: str
    notches: int


@dataclass(frozen=True)
class ClassRow:
    """One class, clean and at each radius; `number` is its label where it has a name besides."""

    name: str
    number: int | None
    count: int
    cells: tuple[ClassCell, ...]


@dataclass(frozen=True)
class ClassTable:
    """Norm and eps of each column after the clean one, which of them orders the rows, and the rows."""

    columns: tuple[tuple[str, str], ...]
    lowest: int
    rows: tuple[ClassRow, ...]
    total: int
    widest: float  # interval of a robust accuracy


def class_table(report: Report) -> ClassTable | None:
    """Return the table, the classes with the lowest robust accuracy first; None where the report has no classes."""
    if not report.per_class or not report.threats:
        return None
    radii = [(threat.norm, part) for threat in report.threats for part in threat.epsilons]
    worst = report.worst()
    order = sorted(report.per_class, key=_rank)
    return ClassTable(
        columns=tuple((norm, part.eps_text) for norm, part in radii),
        lowest=[(norm, part.eps) for norm, part in radii].index((worst[0].norm, worst[1].eps)),
        rows=tuple(_row(part) for part in order[:MOST]),
        total=len(order),
        widest=max(part.robust_accuracy.high - part.robust_accuracy.low for part in order),
    )


def _rank(part: ClassPart) -> tuple[float, float, float, int, int]:
    """Sort key: robust accuracy under the worst threat, then over all threats, then clean accuracy."""
    everywhere = sum(part.standing) / max(part.count, 1)
    return part.robust_accuracy.share, everywhere, part.clean_accuracy.share, -part.count, part.label


def _row(part: ClassPart) -> ClassRow:
    counts = [part.clean_accuracy.share * part.count, *part.standing]
    return ClassRow(
        name=part.name,
        number=None if part.name == str(part.label) else part.label,
        count=part.count,
        cells=tuple(_cell(count, part.count) for count in counts),
    )


def _cell(count: float, total: int) -> ClassCell:
    share = min(max(count / total, 0.0), 1.0) if total else 0.0
    return ClassCell(share, counted(count), round(NOTCHES * share))
