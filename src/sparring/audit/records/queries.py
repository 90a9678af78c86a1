"""Counts from the records: each is one question to the tables.

What a sample is lost by at a radius is its worst example within it: of all that the attacks up to a turn have brought,
the one that had won the largest share of answers when the engine looked, the earliest among equals. It counts with the
share that it won when the auditor looked; an image without one counts as it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..suites.suite import TURNS
from .database import Records
from .statistics import Share, share

WITHIN = "norm = :norm AND (eps < :eps AND turn < :views OR eps = :eps AND turn <= :turn)"
LOSSES = f"""
SELECT sample.*, CASE WHEN COALESCE(worst.claimed, 0) > clean_claimed THEN worst.rate ELSE clean_rate END AS lost
FROM sample LEFT JOIN (
    SELECT sample, rate, claimed, ROW_NUMBER() OVER (
        PARTITION BY sample ORDER BY claimed DESC, eps, turn, seed) AS place
    FROM result WHERE claimed > 0 AND {WITHIN}
) AS worst ON worst.sample = sample.id AND worst.place = 1
"""  # noqa: S608
LOSSES_IN_8_BITS = f"""
SELECT MAX(clean_rate, COALESCE(file.rate, 0)) AS lost FROM sample LEFT JOIN (
    SELECT sample, MAX(rate) AS rate FROM (
        SELECT sample, rate_uint8 AS rate FROM result WHERE claimed > 0 AND {WITHIN}
        UNION ALL SELECT sample, rate FROM stretched WHERE norm = :norm AND eps <= :eps
    ) GROUP BY sample
) AS file ON file.sample = sample.id
"""  # noqa: S608
SMALLEST = """
SELECT MIN({column}) AS size FROM result WHERE norm = ? AND eps = ? AND turn <= ? AND success GROUP BY sample
"""


@dataclass(frozen=True)
class Reach:
    """A norm, a radius, and up to which turn attacks are counted; by default all of them."""

    norm: str
    eps: float
    views: int = 1 << 40  # at smaller radii turns below this are counted
    turn: int = 1 << 40

    @classmethod
    def of_view(cls, norm: str, eps: float, view: int) -> Reach:
        """Everything of one view and those before it."""
        return cls(norm, eps, (view + 1) * TURNS, (view + 1) * TURNS - 1)

    @classmethod
    def up_to(cls, norm: str, eps: float, turn: int) -> Reach:
        """Everything up to a turn, and of its view at smaller radii."""
        return cls(norm, eps, (turn // TURNS + 1) * TURNS, turn)

    @property
    def values(self) -> dict[str, Any]:
        return {"norm": self.norm, "eps": self.eps, "views": self.views, "turn": self.turn}


def samples(records: Records) -> int:
    return int(records.one("SELECT COUNT(*) FROM sample"))


def lost(records: Records, reach: Reach, losses: str = LOSSES) -> tuple[float, int]:
    """The sum of what samples are lost by, and how many are lost by most answers."""
    question = f"SELECT TOTAL(lost) AS sum, TOTAL(lost > 0.5) AS count FROM ({losses})"  # noqa: S608
    row = next(records.select(question, reach.values))
    return row["sum"], int(row["count"])


def standing(records: Records, reach: Reach, losses: str = LOSSES) -> Share:
    """Robust accuracy at a radius."""
    count = samples(records)
    return share(count - lost(records, reach, losses)[0], count)


def clean(records: Records) -> Share:
    """Accuracy without an attack."""
    count = samples(records)
    return share(count - records.one("SELECT TOTAL(clean_rate) FROM sample"), count)


def sizes(records: Records, norm: str, turn: int = 1 << 40) -> list[float]:
    """The size of the smallest example of each sample that has one, rising."""
    question = SMALLEST.format(column=norm.lower())
    return sorted(row["size"] for row in records.select(question, norm, math.inf, turn))
