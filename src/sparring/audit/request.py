"""`AuditRequest`, the checked arguments of one `audit` call, and the facts on model, data and machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..geometry import Ball
from ..goals import Goal
from ..targets import Defended, Restricted, Target
from ..zoo import DataSource, LoadedModel
from .evaluation.admission import Admission
from .evaluation.attacker_views import EvaluatedTarget, knows_detector
from .evaluation.compiled_target import describe_precision
from .evaluation.data_goal import plain_values
from .evaluation.region_limits import RegionLimits
from .evaluation.weights import weights_hash
from .observer import AuditObserver
from .parallel.workers import SINGLE_PROCESS, Workers
from .plan import AuditPlan
from .records.facts import Facts, MaskFacts, attacks_key, device_name, utc_timestamp, versions
from .suites.suite import suite
from .suites.suite_entry import SuiteEntry


@dataclass(frozen=True)
class AuditRequest:
    """One call of `audit`, checked."""

    target: Target[Any]
    source: DataSource
    plan: AuditPlan
    out: Path
    loaded: LoadedModel | None
    surrogate: Target[Any] | None
    resume: bool
    accept: tuple[str, ...]
    command: str
    observer: AuditObserver
    workers: Workers = SINGLE_PROCESS
    limits: RegionLimits = field(default_factory=RegionLimits)
    reference: dict[str, Any] = field(default_factory=dict)  # what came with the data beside its rows


def run_facts(evaluated: EvaluatedTarget, request: AuditRequest, admission: Admission, goal: Goal) -> Facts:
    """What the report says of model, data, machine and of the attacker's `goal` on the first inputs."""
    target, loaded, source, plan = evaluated.target, request.loaded, request.source, request.plan
    weights = weights_hash(target)
    inside = target.target if isinstance(target, Restricted) else target
    names = (loaded.class_names if loaded else None) or getattr(source, "class_names", None)
    return Facts(
        model=loaded.name if loaded else target.name,
        source=loaded.source if loaded else None,
        sha256=(loaded.sha256 if loaded else None) or weights,
        weights=weights,
        classes=admission.classes,
        class_names=names,
        access=target.access.__name__,
        views=tuple((name, view.access.__name__) for name, view in evaluated.views),
        stochastic=target.stochastic,
        defended=evaluated.defended,
        rejects=knows_detector(evaluated.strongest) or (isinstance(inside, Defended) and inside.rejects),
        may_decline=target.may_decline,
        draws=evaluated.strongest.draws,
        surrogate=None if request.surrogate is None else weights_hash(request.surrogate),
        input_shape=admission.shape,
        inputs=target.inputs.plural,
        task=admission.task.name,
        columns=admission.columns,
        goal=type(goal).__name__,
        goal_values=plain_values(goal),
        words=goal.words,
        mask=mask_facts(request.limits),
        radii=radii_facts(request.limits),
        probabilities=bool(getattr(inside, "probabilities", False)),
        attacks={
            attacks_key(name, ball): tuple((entry.name, entry.access.__name__) for entry in suite_of(view, ball, plan))
            for name, view in evaluated.views
            for ball in plan.balls()
        },
        data=source.name,
        label_note=source.label_note,
        candidates=source.candidates,
        command=request.command,
        versions=versions(),
        device=request.workers.describe_device(device_name(target.device)),
        precision=describe_precision(target, request.plan),
        started=utc_timestamp(),
    )


def suite_of(view: Target[Any], ball: Ball, plan: AuditPlan) -> list[SuiteEntry]:
    """List the attacks of a view on a ball."""
    return suite(view.access, ball, plan, knows_detector(view))


def mask_facts(limits: RegionLimits) -> MaskFacts | None:
    """What the report says of the mask; None where there is none."""
    if limits.mask is None:
        return None
    return MaskFacts(share=float(limits.mask.double().mean()), each=len(limits.mask) > 1)


def radii_facts(limits: RegionLimits) -> tuple[float, float] | None:
    """The smallest and the largest radius, where each input has one of its own."""
    return None if limits.eps is None else (float(limits.eps.min()), float(limits.eps.max()))
