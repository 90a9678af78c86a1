"""`audit`: a model, data and threats in; a run folder with records and a report out."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..access import Decisions
from ..errors import RunError
from ..geometry import Ball
from ..targets import Granting, Target
from ..threats import Threat, of_balls
from ..zoo import LoadedModel
from .batches import Source, fitting, limited, source_of
from .cascade import Attempt, Clean, cascade
from .door import Door
from .plan import ACCESS, Plan, make_plan
from .provenance import Facts, device_name, image_hash, now, versions, weights_hash
from .publish import publish
from .records import Records, begun, refuse_used, writing
from .report_model import Report
from .rows import Kept, chunk_hash, chunk_rows
from .shards import shard_name, write_shard
from .watch import ChunkDone, Watch


def audit(
    target: Target[Any] | LoadedModel,
    data: Any,
    *,
    threats: Iterable[Ball | Threat],
    out: Path | str,
    access: str | None = None,
    seed: int = 0,
    limit: int | None = None,
    batch_size: int | None = None,
    steps: int = 40,
    restarts: int = 5,
    queries: int = 1000,
    labels: str = "data",
    resume: bool = False,
    command: str | None = None,
    watch: Watch | None = None,
) -> Report:
    """Robust accuracy of `target` on `data` under each threat, recorded in the folder `out`.

    Args:
        target: what is audited; a model of the zoo brings its source and class names along.
        data: Data of the zoo, or batches of (images, labels) or of images in [0, 1] that can be read twice.
        threats: balls, as [Linf(4 / 255), L2(0.5)]; several of one norm give a curve.
        out: a folder that does not exist yet, or with `resume` one that holds an interrupted run.
        access: "scores" or "decisions" audits a black box; None: what the target grants.
        steps, restarts: of PGD. queries: of Square, or of HopSkipJump where there are decisions only.
        labels: "model" takes the model's own clean predictions as labels throughout.
        batch_size: images per pass and per recorded chunk; None: by the size of the images.
        watch: told what happens.

    Raises:
        InputError, ThreatError, TargetError, ConfigError: before the first attack.
        RunError: a folder that is in use, other arguments than the run's, a full disk.
    """
    loaded = target if isinstance(target, LoadedModel) else None
    source = source_of(data)
    plan = make_plan(
        model=loaded.name if loaded else target.name,
        data=source.name,
        threats=_threats(threats),
        access=access,
        seed=seed,
        limit=limit,
        batch_size=fitting(source) if batch_size is None else batch_size,
        steps=steps,
        restarts=restarts,
        queries=queries,
        labels=labels,
    )
    attacked = granted(loaded.target if loaded else target, plan)  # type: ignore[arg-type]
    return conduct(
        attacked, source, plan, Path(out), loaded, resume, command or "sparring.audit(...)", watch or Watch()
    )


def _threats(given: Iterable[Ball | Threat]) -> tuple[Threat, ...]:
    listed = list(given)
    written = [one for one in listed if isinstance(one, Threat)]
    return tuple(written if len(written) == len(listed) else of_balls(listed))  # type: ignore[arg-type]


def granted(target: Target[Any], plan: Plan) -> Target[Any]:
    """The target, narrowed to the access of the plan."""
    if plan.access is None:
        return target
    wanted: type[Decisions] = ACCESS[plan.access]
    return target if issubclass(wanted, target.access) else Granting(target, wanted)


def conduct(
    target: Target[Any],
    source: Source,
    plan: Plan,
    out: Path,
    loaded: LoadedModel | None,
    resume: bool,
    command: str,
    watch: Watch,
) -> Report:
    """Look through the data, then chunk by chunk: attack, record, tell; at the end the report."""
    door = Door(target, plan)
    door.first_look(source)
    facts = facts_of(target, source, door, loaded, command)
    if resume and begun(out):
        records = Records.resume(out, plan, facts)
        safe = records.chunks()
        watch.resumed(len(safe), sum(count for _, count, _ in safe.values()))
    else:
        refuse_used(out)
        door.look_through(source, watch)
        records = Records.begin(out, plan, facts)
    try:
        if not records.finished:
            attack_all(records, target, source, plan, door, watch)
            records.finish(source.skipped)
        return publish(records)
    finally:
        records.close()


def attack_all(records: Records, target: Target[Any], source: Source, plan: Plan, door: Door, watch: Watch) -> None:
    """Every chunk that is not yet recorded."""
    safe = records.chunks()
    kept = fallen_before(records)
    total = source.candidates if plan.limit is None else plan.limit
    for number, chunk in enumerate(limited(source, plan.batch_size, plan.limit)):
        if number in safe:
            first, _, digest = safe[number]
            if chunk.first != first or chunk_hash([image_hash(image) for image in chunk.images]) != digest:
                raise RunError(
                    f"{source.name} gives other images at {chunk.first} than when {records.folder} was begun; "
                    "turn shuffling off, restore the data, or choose another --out"
                )
            continue
        clock = time.perf_counter()
        clean = door.admit(chunk)
        events = list(cascade(target, clean, plan, watch))
        attempts = [event for event in events if isinstance(event, Attempt)]
        rows = chunk_rows(number, clean, events, time.perf_counter() - clock, plan.seed, kept)
        if rows.tensors:
            with writing(records.folder):
                write_shard(records.folder / shard_name(number), rows.tensors)
        records.commit(rows, source.skipped)
        count_fallen(kept, attempts)
        seconds = time.perf_counter() - clock
        seen = clean.first + len(clean)
        watch.recorded(ChunkDone(number, seen, total, still_standing(clean, attempts, plan), len(clean), seconds))


def fallen_before(records: Records) -> Kept:
    """How many samples fell to each (norm, eps, attack) in the chunks that are safe."""
    question = "SELECT norm, eps, attack, COUNT(*) FROM result WHERE success GROUP BY norm, eps, attack"
    return Counter({(norm, eps, attack): count for norm, eps, attack, count in records.select(question)})


def count_fallen(kept: Kept, attempts: list[Attempt]) -> None:
    for attempt in attempts:
        kept[attempt.norm, attempt.eps, attempt.attack] += int(attempt.fell.sum())


def still_standing(clean: Clean, attempts: list[Attempt], plan: Plan) -> dict[str, int]:
    """How many of the chunk's images stand after each threat and radius."""
    standing = {}
    for threat in plan.threats:
        left = int(clean.correct.sum())
        for radius in threat.radii:
            here = [one for one in attempts if one.norm == threat.norm and one.eps == radius.eps]
            left -= sum(int(one.fell.sum()) for one in here)
            standing[f"{threat.norm} {radius.text}"] = left
    return standing


def facts_of(target: Target[Any], source: Source, door: Door, loaded: LoadedModel | None, command: str) -> Facts:
    """What the report says of model, data and machine."""
    weights = weights_hash(target)
    names = (loaded.class_names if loaded else None) or getattr(source, "class_names", None)
    return Facts(
        model=loaded.name if loaded else target.name,
        source=loaded.source if loaded else None,
        sha256=(loaded.sha256 if loaded else None) or weights,
        weights=weights,
        classes=door.classes,
        class_names=names,
        access=target.access.__name__,
        input_shape=door.shape,
        probabilities=bool(getattr(target, "probabilities", False)),
        data=source.name,
        label_note=source.label_note,
        candidates=source.candidates,
        command=command,
        versions=versions(),
        device=device_name(target.device),
        precision="float32",
        started=now(),
    )
