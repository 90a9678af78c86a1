"""The results of each threat (robust accuracies and curves), read from the records."""

from __future__ import annotations

import math

from ...geometry import Ball
from ...threats import BALLS, Norm, Threat
from ..records import queries
from ..records.database import Records
from ..records.queries import LOSSES_IN_8_BITS, ResultScope
from ..records.statistics import share
from .attacks import attack_parts
from .certificates import certificate_part
from .gallery import IMAGES
from .model import CurvePoint, EpsilonPart, SmallestPart, ThreatPart, ViewPart

POINTS = 40  # most points of a curve of smallest distances
QUARTERS = (0.25, 0.5, 0.75)
SMALLEST_IN_8_BITS = """
SELECT MIN(uint8_size) AS size FROM result WHERE norm = ? AND eps = ? AND survives_uint8 GROUP BY sample
"""


def fixed_radius_part(records: Records, threat: Threat) -> ThreatPart:
    """Return the results of a threat with given radii."""
    pairs = zip(threat.radii, threat.balls(), strict=True)
    parts = [radius_part(records, threat.norm, radius.text, ball) for radius, ball in pairs]
    curve = [CurvePoint(eps=0.0, robust_accuracy=queries.clean_accuracy(records))]
    curve += [CurvePoint(eps=part.eps, robust_accuracy=part.robust_accuracy) for part in parts]
    return ThreatPart(norm=threat.norm, epsilons=parts, curve=curve)


def radius_part(records: Records, norm: Norm, text: str, ball: Ball) -> EpsilonPart:
    """Return the results at one given radius of a norm: robust accuracy, in all and of each view, and the attacks.

    `text`: the radius as the user wrote it. Of inputs that are no images there is no robust accuracy in 8 bits.
    """
    everything, pictures = ResultScope(norm, ball.eps), records.facts.inputs == IMAGES
    before = ResultScope(norm, ball.eps, turn=-1)
    wrong = records.scalar("SELECT COUNT(*) FROM sample WHERE NOT clean_correct")
    views = [name for name, _ in records.facts.views]
    return EpsilonPart(
        eps=ball.eps,
        eps_text=text,
        robust_accuracy=queries.robust_accuracy(records, everything),
        robust_accuracy_uint8=queries.robust_accuracy(records, everything, LOSSES_IN_8_BITS) if pictures else None,
        wrong_before=wrong,
        fallen_at_smaller_eps=max(0, queries.total_lost(records, before)[1] - wrong),
        attacks=attack_parts(records, norm, ball, ball.eps),
        certificates=certificate_part(records, norm, ball.eps),
        views=[
            ViewPart(
                name=name, robust_accuracy=queries.robust_accuracy(records, ResultScope.of_view(norm, ball.eps, view))
            )
            for view, name in enumerate(views)
            if name
        ],
    )


def minimum_norm_part(records: Records, norm: Norm) -> ThreatPart:
    """Return the results of a threat without a radius; its curve is computed from the smallest distances."""
    found, count = queries.smallest_sizes(records, norm), queries.sample_count(records)
    right = records.scalar("SELECT COUNT(*) FROM sample WHERE clean_correct")
    places = [math.ceil(part * right) - 1 for part in QUARTERS]
    quartiles = [found[place] if 0 <= place < len(found) else None for place in places]
    median, text = quartiles[1], "median"
    if median is None:
        median, text = (found[-1], "largest found") if found else (0.0, "none found")
    stand = share(right - sum(size <= median for size in found), count)
    in_8_bits = sum(row["size"] <= median for row in records.select(SMALLEST_IN_8_BITS, norm, math.inf))
    part = EpsilonPart(
        eps=median,
        eps_text=f"{median:.4g} ({text})",
        robust_accuracy=stand,
        robust_accuracy_uint8=share(right - in_8_bits, count) if records.facts.inputs == IMAGES else None,
        wrong_before=count - right,
        fallen_at_smaller_eps=0,
        attacks=attack_parts(records, norm, BALLS[norm](), median),
    )
    return ThreatPart(
        norm=norm,
        epsilons=[part],
        curve=curve_of(found, right, count),
        smallest=SmallestPart(attacked=right, found=len(found), quartiles=quartiles),
    )


def curve_of(found: list[float], right: int, count: int) -> list[CurvePoint]:
    """Return robust accuracy against eps, from 0 on, at no more than POINTS of the distances."""
    steps = min(POINTS, len(found))
    places = [math.ceil((step + 1) * len(found) / steps) - 1 for step in range(steps)]
    radii = sorted({found[place] for place in places})
    points = [(eps, sum(size <= eps for size in found)) for eps in radii]
    return [CurvePoint(eps=eps, robust_accuracy=share(right - fallen, count)) for eps, fallen in [(0.0, 0), *points]]
