"""How an audit goes: look through the data, probe, then chunk by chunk attack and record; at the end the report."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, nullcontext
from typing import Any

from ..errors import LockedOut, RunError
from ..targets import Target
from ..threats import BALLS
from ..zoo import Chunk
from .batches import limited
from .cascade import Event
from .clean import Clean
from .crew import Crew, by_many, by_one, crew_of
from .door import Door
from .hands import Hands
from .hastened import hastened
from .job import Job, facts_of
from .plan import Plan
from .probes import probe
from .provenance import Facts, image_hash, now
from .publish import publish
from .records import Records
from .report_model import Report
from .rows import Kept, chunk_hash, chunk_rows
from .run_folder import begun, refuse_used, writing
from .shards import shard_name, write_shard
from .suite import suite
from .views import Ring, detects, narrowed, ring_of
from .watch import ChunkDone
from .weigh import Attempt
from .workers import check_shared


def conduct(job: Job) -> Report:
    """Everything, from the first look to the report."""
    check_shared(job.workers, job.target, job.surrogate)
    door = Door(narrowed(job.target, job.plan), job.plan)
    first = door.first_look(job.source)
    ring = ring_of(job.target, job.plan, first.goal(), first.images, job.surrogate)
    for view in ring.views:
        serve(view[1], job.plan)
    facts = facts_of(ring, job, door)
    hands = Hands(hastened(ring, job.plan), door)
    crew = crew_of(job.workers, hands, job.watch)
    with nullcontext() if crew is None else closing(crew):
        return recorded(job, ring, facts, hands, crew)


def recorded(job: Job, ring: Ring, facts: Facts, hands: Hands, crew: Crew | None) -> Report:
    """All that is written down, and the report of it."""
    door = hands.door
    records = opened(job, door, facts, crew)
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


def serve(target: Target[Any], plan: Plan) -> None:
    """ThreatError where the plan has no attack for one of its threats."""
    for threat in plan.threats:
        for ball in threat.balls():
            suite(target.access, ball, plan, detects(target))
    for norm in plan.smallest:
        suite(target.access, BALLS[norm](), plan, detects(target))


def opened(job: Job, door: Door, facts: Facts, crew: Crew | None) -> Records:
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
