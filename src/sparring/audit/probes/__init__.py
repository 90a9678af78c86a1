"""Probes: measurements on a few images before the first attack, which tell whether attacks on the model can be trusted.

They cost about a hundred and fifty forward passes and half as many backward passes for each of 8 (quick), 32 (standard)
or 64 (thorough) images, of small data for a tenth of it but no fewer than 8, and, on at most 8 of them, the suite's
strongest attack once and four times as long.
"""

from __future__ import annotations

from typing import Any

from ...zoo import DataSource
from ..evaluation.admission import Admission
from ..evaluation.attacker_views import EvaluatedTarget
from ..observer import AuditObserver
from ..plan import AuditPlan
from .attack_ranking import rank_attacks
from .convergence import check_convergence
from .determinism import check_determinism
from .gradients import check_gradients
from .sample import gather_sample

__all__ = ["run_probes"]


def run_probes(
    evaluated: EvaluatedTarget, admission: Admission, source: DataSource, plan: AuditPlan, observer: AuditObserver
) -> dict[str, Any]:
    """Return all measurements, by name; what the target's access does not allow is left out."""
    sample = gather_sample(evaluated, admission, source, plan, observer)
    if sample is None:
        return {"sample": {"images": 0}}
    found: dict[str, Any] = {"sample": {"images": len(sample)}, "steady": check_determinism(sample)}
    seeing = rank_attacks(sample)
    if seeing is not None:
        found |= {"slopes": check_gradients(sample), "climbs": seeing, "limits": check_convergence(sample)}
    return found
