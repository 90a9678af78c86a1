"""Clean and robust accuracy of each class, read from the records.

Only classes that the data hold have a row, whatever number their labels have: nothing here grows with the number of
classes that the model knows.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..records.database import Records
from ..records.queries import LOSSES, ResultScope
from ..records.statistics import share
from .gallery import class_namer
from .model import ClassPart, EpsilonPart, ThreatPart

CLEAN = """
SELECT label, COUNT(*) AS count, COUNT(*) - TOTAL(clean_rate) AS stands FROM sample GROUP BY label ORDER BY label
"""
WITHIN = f"SELECT label, COUNT(*) - TOTAL(lost) AS stands FROM ({LOSSES}) GROUP BY label"  # noqa: S608
NEAREST = """
SELECT label, TOTAL(clean_correct AND NOT EXISTS (
    SELECT 1 FROM result WHERE result.sample = sample.id AND norm = :norm AND success AND {column} <= :eps)) AS stands
FROM sample GROUP BY label
"""


def per_class(
    records: Records, threats: Sequence[ThreatPart], worst: tuple[ThreatPart, EpsilonPart]
) -> list[ClassPart]:
    """Return one part for each class in the data, by label.

    `standing` has, for each radius of each threat in turn, how many images of the class are classified right and
    withstand every attack there: of random answers the expected number, sum over the images of 1 - rate. Where the
    smallest examples were searched, the radius is the one that the report reads off them.
    """
    radii = [(threat, part) for threat in threats for part in threat.epsilons]
    columns = [_standing(records, threat, part.eps) for threat, part in radii]
    lowest = [(threat.norm, part.eps) for threat, part in radii].index((worst[0].norm, worst[1].eps))
    named = class_namer(records.facts.class_names)
    return [
        ClassPart(
            label=row["label"],
            name=named(row["label"]),
            count=row["count"],
            clean_accuracy=share(row["stands"], row["count"]),
            robust_accuracy=share(columns[lowest][row["label"]], row["count"]),
            standing=[column[row["label"]] for column in columns],
        )
        for row in records.select(CLEAN)
    ]


def _standing(records: Records, threat: ThreatPart, eps: float) -> dict[int, float]:
    """Return, by label, how many images of the class are not broken at a radius."""
    question = WITHIN if threat.smallest is None else NEAREST.format(column=threat.norm.lower())
    return {row["label"]: row["stands"] for row in records.select(question, ResultScope(threat.norm, eps).values)}
