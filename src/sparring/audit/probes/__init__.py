"""Measurements on a few images before the first attack: can attacks on this model be believed?

They cost about a hundred and fifty forward passes and half as many backward passes for each of 8 (quick), 32 (standard)
or 64 (thorough) images, of small data for a tenth of it but no fewer than 8, and, on at most 8 of them, the suite's
strongest attack once and four times as long.
"""

from __future__ import annotations

from typing import Any

from ..evaluation.admission import Door
from ..evaluation.attacker_views import Ring
from ..evaluation.batches import Source
from ..observer import Watch
from ..plan import Plan
from .attack_ranking import climbs
from .convergence import limits
from .determinism import steady
from .gradients import slopes
from .sample import gathered

__all__ = ["probe"]


def probe(ring: Ring, door: Door, source: Source, plan: Plan, watch: Watch) -> dict[str, Any]:
    """All measurements, by name; what the target's access does not allow is left out."""
    sample = gathered(ring, door, source, plan, watch)
    if sample is None:
        return {"sample": {"images": 0}}
    found: dict[str, Any] = {"sample": {"images": len(sample)}, "steady": steady(sample)}
    seeing = climbs(sample)
    if seeing is not None:
        found |= {"slopes": slopes(sample), "climbs": seeing, "limits": limits(sample)}
    return found
