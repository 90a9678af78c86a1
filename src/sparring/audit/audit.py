"""`audit`: a model, data and threats in; a run folder with records and a report out."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

from ..errors import LockedOut, RunError
from ..geometry import Ball
from ..targets import Target
from ..threats import BALLS, Norm, Threat, of_balls
from ..zoo import Chunk, LoadedModel
from .evaluation.admission import Door
from .evaluation.attacker_views import Ring, detects, narrowed, ring_of
from .evaluation.batches import fitting, limited, source_of
from .evaluation.cascade import Event
from .evaluation.clean_chunk import Clean
from .evaluation.compiled_target import hastened
from .evaluation.confirmation import Attempt
from .evaluation.weights import image_hash
from .findings import checked_codes, findings
from .observer import ChunkDone, Watch
from .parallel.chunk_worker import Hands
from .parallel.worker_pool import Crew, by_many, by_one, crew_of
from .parallel.workers import asked_for, check_shared
from .plan import Plan, make_plan
from .probes import probe
from .records.database import Records
from .records.example_files import shard_name, write_shard
from .records.facts import Facts, now
from .records.rows import Kept, chunk_hash, chunk_rows
from .records.run_folder import begun, refuse_used, writing
from .report.model import Report
from .report.summary import summarize
from .report.write import write_report
from .request import Job, facts_of
from .suites.suite import suite


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


def conduct(job: Job) -> Report:
    """Everything, from the first look to the report."""
    check_shared(job.workers, job.target, job.surrogate)
    door = Door(narrowed(job.target, job.plan), job.plan)
    first = door.first_look(job.source)
    ring = ring_of(job.target, job.plan, first.goal(), first.images, job.surrogate)
    for view in ring.views:
        check_suites(view[1], job.plan)
    facts = facts_of(ring, job, door)
    hands = Hands(hastened(ring, job.plan), door)
    crew = crew_of(job.workers, hands, job.watch)
    with nullcontext() if crew is None else closing(crew):
        return record_run(job, ring, facts, hands, crew)


def record_run(job: Job, ring: Ring, facts: Facts, hands: Hands, crew: Crew | None) -> Report:
    """All that is written down, and the report of it."""
    door = hands.door
    records = open_records(job, door, facts, crew)
    try:
        records.accept(job.accept, now())
        if not records.probed():
            job.watch.probing()
            clock = time.perf_counter()
            measured = probe(ring, door, job.source, job.plan, job.watch)
            records.note(measured | {"seconds": time.perf_counter() - clock})
        if not records.finished:
            try:
                attack_all(records, job, hands, crew)
                records.finish(job.source.skipped)
            except LockedOut as error:
                job.watch.told(f"{error}; what was recorded before stands, and --resume goes on where answers are had")
        job.watch.publishing()
        return publish(records)
    finally:
        records.close()


def check_suites(target: Target[Any], plan: Plan) -> None:
    """ThreatError where the plan has no attack for one of its threats."""
    for threat in plan.threats:
        for ball in threat.balls():
            suite(target.access, ball, plan, detects(target))
    for norm in plan.smallest:
        suite(target.access, BALLS[norm](), plan, detects(target))


def open_records(job: Job, door: Door, facts: Facts, crew: Crew | None) -> Records:
    """New records, after a look at all the data; or those of an interrupted run."""
    if job.resume and begun(job.out):
        records = Records.resume(job.out, job.plan, facts)
        safe = records.chunks()
        job.watch.resumed(len(safe), sum(count for _, count, _ in safe.values()))
        return records
    refuse_used(job.out)
    if crew is not None:
        crew.warm()
    door.look_through(job.source, job.watch)
    return Records.begin(job.out, job.plan, facts)


def attack_all(records: Records, job: Job, hands: Hands, crew: Crew | None) -> None:
    """Every chunk that is not yet recorded, written down in its turn."""
    plan, source, watch, kept = job.plan, job.source, job.watch, fallen_before(records)
    total = source.candidates if plan.limit is None else plan.limit
    left = unrecorded(records, job)
    for done in by_one(hands, left, watch) if crew is None else by_many(crew, job.workers.count, left):
        number, clean, events = done.number, done.clean, done.events
        rows = chunk_rows(number, clean, events, done.seconds, kept)
        if rows.tensors:
            with writing(records.folder):
                write_shard(records.folder / shard_name(number), rows.tensors)
        records.commit(rows, source.skipped)
        count_fallen(kept, events)
        standing = still_standing(clean, events, plan)
        watch.recorded(ChunkDone(number, clean.first + len(clean), total, standing, len(clean), done.seconds))


def unrecorded(records: Records, job: Job) -> Iterator[tuple[int, Chunk]]:
    """The chunks that are not safe yet, with their numbers; those that are, are compared with the data."""
    safe = records.chunks()
    for number, chunk in enumerate(limited(job.source, job.plan.batch_size, job.plan.limit)):
        if number in safe:
            check_same(records, chunk, safe[number])
        else:
            yield number, chunk


def check_same(records: Records, chunk: Chunk, safe: tuple[int, int, str]) -> None:
    """RunError where the data gives other images than when the run was begun."""
    first, _, digest = safe
    if chunk.first != first or chunk_hash([image_hash(image) for image in chunk.images]) != digest:
        raise RunError(
            f"{records.facts.data} gives other images at {chunk.first} than when {records.folder} was begun; "
            "turn shuffling off, restore the data, or choose another --out"
        )


def fallen_before(records: Records) -> Kept:
    """How many samples fell to each (norm, eps, attack) in the chunks that are safe."""
    question = "SELECT norm, eps, attack, COUNT(*) FROM result WHERE success GROUP BY norm, eps, attack"
    return Counter({(norm, eps, attack): count for norm, eps, attack, count in records.select(question)})


def count_fallen(kept: Kept, events: list[Event]) -> None:
    for event in events:
        if isinstance(event, Attempt):
            kept[event.place.norm, event.place.eps, event.attack] += int(event.fell.sum())


def still_standing(clean: Clean, events: list[Event], plan: Plan) -> dict[str, int]:
    """How many of the chunk's images stand after each threat and radius."""
    standing = {}
    for threat in plan.threats:
        stands = clean.correct.clone()
        for radius in threat.radii:
            for one in events:
                if isinstance(one, Attempt) and (one.place.norm, one.place.eps) == (threat.norm, radius.eps):
                    stands[one.rows[one.fell]] = False
            standing[f"{threat.norm} {radius.text}"] = int(stands.sum())
    return standing


def publish(records: Records) -> Report:
    """Write report.json and report.html of an open run, and return the report."""
    report = summarize(records)
    report = report.model_copy(update={"warnings": findings(records, report)})
    write_report(report, records.folder)
    return report


def render(folder: Path) -> Report:
    """Make the report of the run in `folder` again from its records, write it, and return it."""
    records = Records.open(folder)
    try:
        return publish(records)
    finally:
        records.close()
