"""One call of `audit`, and what its report says of model, data and machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..targets import Defended, Granting, Target
from ..zoo import LoadedModel
from .evaluation.admission import Door
from .evaluation.attacker_views import Ring, detects
from .evaluation.batches import Source
from .evaluation.compiled_target import precision
from .evaluation.weights import weights_hash
from .observer import Watch
from .parallel.workers import ALONE, Workers
from .plan import Plan
from .records.facts import Facts, device_name, now, versions


@dataclass(frozen=True)
class Job:
    """One call of `audit`, checked."""

    target: Target[Any]
    source: Source
    plan: Plan
    out: Path
    loaded: LoadedModel | None
    surrogate: Target[Any] | None
    resume: bool
    accept: tuple[str, ...]
    command: str
    watch: Watch
    workers: Workers = ALONE


def facts_of(ring: Ring, job: Job, door: Door) -> Facts:
    """What the report says of model, data and machine."""
    target, loaded, source = ring.target, job.loaded, job.source
    weights = weights_hash(target)
    inside = target.target if isinstance(target, Granting) else target
    names = (loaded.class_names if loaded else None) or getattr(source, "class_names", None)
    return Facts(
        model=loaded.name if loaded else target.name,
        source=loaded.source if loaded else None,
        sha256=(loaded.sha256 if loaded else None) or weights,
        weights=weights,
        classes=door.classes,
        class_names=names,
        access=target.access.__name__,
        views=tuple((name, view.access.__name__) for name, view in ring.views),
        stochastic=target.stochastic,
        defended=ring.defended,
        rejects=detects(ring.strongest) or (isinstance(inside, Defended) and inside.rejects),
        draws=ring.strongest.draws,
        surrogate=None if job.surrogate is None else weights_hash(job.surrogate),
        input_shape=door.shape,
        probabilities=bool(getattr(inside, "probabilities", False)),
        data=source.name,
        label_note=source.label_note,
        candidates=source.candidates,
        command=job.command,
        versions=versions(),
        device=job.workers.told(device_name(target.device)),
        precision=precision(target, job.plan),
        started=now(),
    )
