"""The results of each attack, read from the records."""

from __future__ import annotations

import math

from ...access import Jacobians
from ...geometry import Ball
from ...threats import Norm
from ..records import queries
from ..records.database import Records
from ..records.facts import attacks_key
from ..records.queries import ResultScope
from ..suites.suite import MAX_ATTACKS, SEARCH, SEARCH_TURN
from .gallery import IMAGES
from .model import AttackPart

SUMS = """
SELECT COUNT(DISTINCT sample) AS asked, COUNT(DISTINCT CASE WHEN success THEN sample END) AS fell,
    TOTAL(success) AS examples, TOTAL(success AND survives_uint8) AS uint8, SUM(success AND survives_jpeg90) AS jpeg,
    AVG(rate) AS rate,
    TOTAL(forwards) AS f, TOTAL(backwards) AS b, TOTAL(checks) AS c, TOTAL(seconds) AS s
FROM result WHERE norm = ? AND eps = ? AND view = ? AND attack = ?
"""
REASONS = """
SELECT reason, COUNT(*) AS n FROM result WHERE norm = ? AND eps = ? AND view = ? AND attack = ? GROUP BY reason
"""
MEDIAN = """
SELECT AVG(size) FROM (
    SELECT {column} AS size FROM result WHERE norm = ?1 AND eps = ?2 AND view = ?3 AND attack = ?4 AND success
    ORDER BY size LIMIT 2 - (?5 % 2) OFFSET (?5 - 1) / 2)
"""


def attack_parts(records: Records, norm: Norm, ball: Ball, eps: float) -> list[AttackPart]:
    """Return the attacks on a ball in their order, with what is left at the radius `eps` after each.

    Branch and bound, of certificates, is the last of them.
    """
    parts = []
    for view, (name, _) in enumerate(records.facts.views):
        entries = records.facts.attacks[attacks_key(name, ball)]
        for number, (attack, access) in enumerate(entries):
            last = view * MAX_ATTACKS + (records.plan.repeats - 1) * len(entries) + number
            names = (name, attack, access)
            parts.append(attack_part(records, norm, ball.eps, names, broken_after(records, norm, ball, eps, last)))
    if norm in {threat.norm for threat in records.plan.certified_threats} and records.plan.certify_timeout > 0:
        after = broken_after(records, norm, ball, eps, SEARCH_TURN)
        parts.append(attack_part(records, norm, ball.eps, ("", SEARCH, Jacobians.__name__), after))
    return parts


def broken_after(records: Records, norm: Norm, ball: Ball, eps: float, turn: int) -> tuple[int, float]:
    """Return how many samples are broken after an attack, and the share that is not."""
    count = queries.sample_count(records)
    if math.isfinite(ball.eps):
        sum_lost, fallen = queries.total_lost(records, ResultScope.up_to(norm, eps, turn))
    else:
        wrong = records.scalar("SELECT COUNT(*) FROM sample WHERE NOT clean_correct")
        sum_lost = fallen = wrong + sum(size <= eps for size in queries.smallest_sizes(records, norm, turn))
    return fallen, 1 - sum_lost / count if count else 0.0


def attack_part(
    records: Records, norm: Norm, eps: float, attack: tuple[str, str, str], after: tuple[int, float]
) -> AttackPart:
    """Return the results of one attack, summed over the recorded images that it was run on at a radius.

    `attack`: its view, name and access. `after`: how many samples are broken after it, and the robust accuracy left.
    """
    view, name, access = attack
    place = (norm, eps, view, name)
    sums = next(records.select(SUMS, *place))
    asked, fell = sums["asked"], sums["fell"]
    examples = int(sums["examples"])
    pictures = records.facts.inputs == IMAGES
    median = MEDIAN.format(column=norm.lower())
    return AttackPart(
        attack=name,
        access=access,
        view=view,
        asked=asked,
        fell=fell,
        success_rate=fell / asked if asked else None,
        rate=sums["rate"],
        fallen_so_far=after[0],
        robust_accuracy_after=after[1],
        median_size=records.scalar(median, *place, examples) if examples else None,
        survives_uint8=int(sums["uint8"]) if pictures else None,
        survives_jpeg90=jpeg_survivors(sums["jpeg"], records.facts.input_shape[0]) if pictures else None,
        forwards=int(sums["f"]),
        backwards=int(sums["b"]),
        checks=int(sums["c"]),
        seconds=sums["s"],
        reasons={row["reason"]: row["n"] for row in records.select(REASONS, *place)},
    )


def jpeg_survivors(count: int | None, channels: int) -> int | None:
    """Return the count, 0 where nothing was counted; None where JPEG has no such number of channels."""
    return (count or 0) if channels in (1, 3) else None
