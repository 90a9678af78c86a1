"""`audit`: a model, data and threats in; a run folder with records and a report out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..geometry import Ball
from ..targets import Target
from ..threats import BALLS, Norm, Threat, of_balls
from ..zoo import LoadedModel
from .batches import fitting, source_of
from .conduct import conduct
from .findings import checked_codes
from .job import Job
from .plan import make_plan
from .report_model import Report
from .watch import Watch
from .workers import asked_for


def audit(
    target: Target[Any] | LoadedModel,
    data: Any,
    *,
    threats: Iterable[Ball | Threat],
    out: Path | str,
    suite: str | Sequence[str] = "standard",
    goal: str = "misclassify",
    access: str | None = None,
    surrogate: Target[Any] | LoadedModel | None = None,
    seed: int = 0,
    repeats: int = 1,
    limit: int | None = None,
    batch_size: int | None = None,
    steps: int | None = None,
    restarts: int | None = None,
    queries: int | None = None,
    draws: int | None = None,
    labels: str = "data",
    promised_accuracy: float | None = None,
    accept: Sequence[str] = (),
    precision: str = "float32",
    compile: bool = False,
    workers: int | str | None = None,
    devices: Sequence[str] | None = None,
    resume: bool = False,
    command: str | None = None,
    watch: Watch | None = None,
) -> Report:
    """Robust accuracy of `target` on `data` under each threat, recorded in the folder `out`.

    Args:
        target: what is audited; a model of the zoo brings its source and class names along. A `Defended` one is
            attacked from two views, by who does not know of the defence and by who does.
        data: Data of the zoo, or batches of (images, labels) or of images in [0, 1] that can be read twice.
        threats: balls, as [Linf(4 / 255), L2(0.5)]; several of one norm give a curve. A ball without a radius, as
            Linf(), asks for the smallest example of each image, which gives the whole curve.
        out: a folder that does not exist yet, or with `resume` one that holds an interrupted run.
        suite: "quick", "standard", "thorough", or names of attacks (`sparring list attacks`).
        goal: "misclassify", or "least-likely": only the class that the model holds least likely counts.
        access: "scores" or "decisions" audits a black box; None: what the target grants.
        surrogate: another model of the same classes; examples made on it are tried on the target.
        seed, repeats: the suite runs under so many seeds from this one on, each time on what still stands.
        steps, restarts: of PGD. queries: of Square, or of the attacks on decisions. None: the suite's own.
        draws: passes per gradient of a random defence; None: by the gradient's variance.
        labels: "model" takes the model's own clean predictions as labels throughout.
        promised_accuracy: the clean accuracy that the model is said to have, in [0, 1].
        accept: codes of findings that are taken note of, and no longer keep the audit from being green.
        batch_size: images per pass and per recorded chunk; None: by the size of the images.
        precision: of the model inside the search, "bfloat16" or "float16"; each success is confirmed without it.
        compile: the search runs through `torch.compile`, and each success is confirmed without it.
        workers: so many processes, or "ray:N"; the records are those of one worker that has as many threads.
        devices: where workers put the model, as ["cuda:0", "cuda:1"]; one worker each where no number is given.
        watch: told what happens.

    Raises:
        InputError, ThreatError, TargetError, GoalError, ConfigError: before the first attack.
        RunError: a folder that is in use, other arguments than the run's, a full disk.
    """
    job = planned_job(
        target,
        data,
        threats=threats,
        out=out,
        suite=suite,
        goal=goal,
        access=access,
        surrogate=surrogate,
        seed=seed,
        repeats=repeats,
        limit=limit,
        batch_size=batch_size,
        steps=steps,
        restarts=restarts,
        queries=queries,
        draws=draws,
        labels=labels,
        promised_accuracy=promised_accuracy,
        accept=accept,
        precision=precision,
        compile=compile,
        workers=workers,
        devices=devices,
        resume=resume,
        command=command,
        watch=watch,
    )
    return conduct(job)


def planned_job(
    target: Target[Any] | LoadedModel,
    data: Any,
    *,
    threats: Iterable[Ball | Threat],
    out: Path | str,
    surrogate: Target[Any] | LoadedModel | None = None,
    accept: Sequence[str] = (),
    resume: bool = False,
    command: str | None = None,
    watch: Watch | None = None,
    batch_size: int | None = None,
    workers: int | str | None = None,
    devices: Sequence[str] | None = None,
    **effort: Any,
) -> Job:
    """What `audit` is asked to do, checked as far as that is possible without asking the model."""
    loaded = target if isinstance(target, LoadedModel) else None
    attacked: Target[Any] = target.target if isinstance(target, LoadedModel) else target
    crew, source = asked_for(workers, devices), source_of(data)
    radii, smallest = sorted_out(threats)
    plan = make_plan(
        model=loaded.name if loaded else attacked.name,
        data=source.name,
        threats=radii,
        smallest=smallest,
        batch_size=fitting(source) if batch_size is None else batch_size,
        surrogate=None if surrogate is None else surrogate.name,
        **effort,
    )
    return Job(
        target=attacked,
        source=source,
        plan=plan,
        out=Path(out),
        loaded=loaded,
        surrogate=surrogate.target if isinstance(surrogate, LoadedModel) else surrogate,
        resume=resume,
        accept=checked_codes(tuple(accept)),
        command=command or "sparring.audit(...)",
        watch=watch or Watch(),
        workers=crew,
    )


def sorted_out(given: Iterable[Ball | Threat]) -> tuple[tuple[Threat, ...], tuple[Norm, ...]]:
    """Threats with radii, and norms of balls without one."""
    listed = list(given)
    free = [one for one in listed if isinstance(one, Ball) and math.isinf(one.eps)]
    norms = [name for name, kind in BALLS.items() if any(type(one) is kind for one in free)]
    rest = [one for one in listed if one not in free]
    written = [one for one in rest if isinstance(one, Threat)]
    return tuple(written if len(written) == len(rest) else of_balls(rest)), tuple(norms)  # type: ignore[arg-type]
