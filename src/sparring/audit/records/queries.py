"""Queries to the records: counts of samples that are broken, and the accuracies made of them.

A sample counts as broken at a radius if any confirmed example lies within it. For stochastic targets it counts with a
share: of all examples up to an attack, the one that won the largest share of the engine's confirmation samples is
chosen (the earliest among equals), and its share among the audit's own samples counts. A sample without an example
counts as it is when clean; one for which an attack made the model answer NaN or infinity is lost, though nobody won it,
unless the target may decline to answer (`Target.may_decline`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..suites.suite import MAX_ATTACKS
from .database import Records
from .statistics import Share, share

WITHIN = "norm = :norm AND (eps < :eps AND turn < :views OR eps = :eps AND turn <= :turn)"
UNANSWERED = f"""EXISTS (
    SELECT 1 FROM result WHERE result.sample = sample.id AND reason = 'NON_FINITE' AND {WITHIN}
) AND NOT (SELECT json_extract(facts, '$.may_decline') FROM run)"""  # noqa: S608
LOSSES = f"""
SELECT sample.*, CASE WHEN {UNANSWERED} THEN 1.0
    WHEN COALESCE(worst.claimed, 0) > clean_claimed THEN worst.rate ELSE clean_rate END AS lost
FROM sample LEFT JOIN (
    SELECT sample, rate, claimed, ROW_NUMBER() OVER (
        PARTITION BY sample ORDER BY claimed DESC, eps, turn, seed) AS place
    FROM result WHERE claimed > 0 AND {WITHIN}
) AS worst ON worst.sample = sample.id AND worst.place = 1
"""  # noqa: S608
LOSSES_IN_8_BITS = f"""
SELECT MAX(clean_rate, COALESCE(file.rate, 0), {UNANSWERED}) AS lost FROM sample LEFT JOIN (
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
class ResultScope:
    """Which results count: a norm, a radius, and up to which attack (`turn`); by default all of them."""

    norm: str
    eps: float
    views: int = 1 << 40  # at smaller radii attacks with a lower `turn` are counted
    turn: int = 1 << 40

    @classmethod
    def of_view(cls, norm: str, eps: float, view: int) -> ResultScope:
        """Everything of one view and those before it."""
        return cls(norm, eps, (view + 1) * MAX_ATTACKS, (view + 1) * MAX_ATTACKS - 1)

    @classmethod
    def up_to(cls, norm: str, eps: float, turn: int) -> ResultScope:
        """Everything up to one attack, and all of its view at smaller radii."""
        return cls(norm, eps, (turn // MAX_ATTACKS + 1) * MAX_ATTACKS, turn)

    @property
    def values(self) -> dict[str, Any]:
        return {"norm": self.norm, "eps": self.eps, "views": self.views, "turn": self.turn}


def sample_count(records: Records) -> int:
    """Return how many samples the run has recorded so far."""
    return int(records.scalar("SELECT COUNT(*) FROM sample"))


def total_lost(records: Records, reach: ResultScope, losses: str = LOSSES) -> tuple[float, int]:
    """Return the sum of the shares lost, and the number of samples that most answers lose."""
    question = f"SELECT TOTAL(lost) AS sum, TOTAL(lost > 0.5) AS count FROM ({losses})"  # noqa: S608
    row = next(records.select(question, reach.values))
    return row["sum"], int(row["count"])


def robust_accuracy(records: Records, reach: ResultScope, losses: str = LOSSES) -> Share:
    """Robust accuracy at a radius."""
    count = sample_count(records)
    return share(count - total_lost(records, reach, losses)[0], count)


def clean_accuracy(records: Records) -> Share:
    """Accuracy without an attack."""
    count = sample_count(records)
    return share(count - records.scalar("SELECT TOTAL(clean_rate) FROM sample"), count)


def smallest_sizes(records: Records, norm: str, turn: int = 1 << 40) -> list[float]:
    """Return the size of the smallest example of each sample that has one, rising."""
    question = SMALLEST.format(column=norm.lower())
    return sorted(row["size"] for row in records.select(question, norm, math.inf, turn))
