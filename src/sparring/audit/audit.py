"""`audit`: a model, data and threats in; a run folder with records and a report out."""

from __future__ import annotations

import math
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..access import Attack
from ..engine import region_of
from ..errors import ConfigError, GoalError, LockedOut, RunError, ThreatError
from ..files import locked
from ..geometry import Ball
from ..inputs import Images, Inputs
from ..isolation import isolated
from ..targets import Target, as_target
from ..tasks import Classification, Task
from ..threats import BALLS, Norm, Threat, Threats, check_radius, listed_threats, merged_threats
from ..zoo import Chunk, LoadedModel, load_model
from ..zoo.sources import load_source
from .evaluation.admission import Admission, task_of
from .evaluation.attacker_views import EvaluatedTarget, evaluated_target, knows_detector, restricted
from .evaluation.batches import fitting_batch_size, limit_chunks
from .evaluation.cascade import Event
from .evaluation.clean_chunk import CleanChunk
from .evaluation.compiled_target import compile_views
from .evaluation.confirmation import AttackResult
from .evaluation.data_goal import goal_words
from .evaluation.region_limits import RegionLimits
from .findings import check_codes, findings
from .observer import AuditObserver, ChunkRecorded
from .parallel.chunk_worker import ChunkResult, ChunkWorker
from .parallel.pool_factory import make_pool
from .parallel.worker_pool import WorkerPool, work_here, work_in_pool
from .parallel.workers import parse_workers, refuse_shared_services
from .plan import GOALS, AuditPlan, check_word, make_audit_plan
from .probes import run_probes
from .records.database import Records
from .records.example_files import example_file, write_examples
from .records.facts import Facts, utc_timestamp
from .records.identity import ModelIdentity, Part, part_of, read_parts
from .records.reference import checked_reference, reference_digest
from .records.rows import KeptOriginals, chunk_rows
from .records.run_folder import has_run, refuse_used, writing
from .report.gallery import write_mask_picture
from .report.model import Report
from .report.summary import summarize
from .report.write import write_report
from .request import AuditRequest, run_facts
from .suites.suite import refuse_idle_attacks, suite

CHANGED = "data"  # the name of the record of data that changes


def audit(
    target: Target[Any] | LoadedModel | nn.Module | str,
    data: Any,
    *,
    threats: Threats,
    out: Path | str | None = None,
    suite: str | Sequence[str | Attack[Any, Any] | type[Attack[Any, Any]]] = "standard",
    goal: str | None = None,
    access: str | None = None,
    surrogate: Target[Any] | LoadedModel | nn.Module | str | None = None,
    seed: int = 0,
    repeats: int = 1,
    limit: int | None = None,
    batch_size: int | None = None,
    steps: int | None = None,
    restarts: int | None = None,
    queries: int | None = None,
    draws: int | None = None,
    labels: str = "data",
    mask: Tensor | None = None,
    eps: Tensor | None = None,
    expected_accuracy: float | None = None,
    accept: Sequence[str] = (),
    precision: str = "float32",
    compile: bool = False,
    certify: bool = False,
    certify_timeout: float = 60.0,
    workers: int | str | None = None,
    devices: Sequence[str] | None = None,
    resume: bool = False,
    command: str | None = None,
    observer: AuditObserver | None = None,
) -> Report:
    """Robust accuracy of `target` on `data` under each threat, recorded in the folder `out`.

    Args:
        target: what is audited, of any task; a model of the zoo, or its name as "zoo:mnist-plain", brings its source
            and class names along, a module alone is a `Classifier`. A `Defended` one is attacked from two views, by who
            does not know of the defence and by who does.
        data: of a classifier whatever `load_data` takes: images, (images, labels), a data set, a DataLoader, a list of
            batches, or a name, as "zoo:mnist" or "folder:DIR"; of another task batches of (inputs, goal), where the
            goal has a row for each input: `Dodge(templates, 0.8)`, `Vanish(boxes)`. An input is right where the goal is
            not met on it. A batch may have a third part, the context: a row-wise record of what lies beside the inputs.
            Data is read several times, and must give the same
            each time. A data source (`sparring.zoo.DataSource`) may have a `reference`, a dict of what lies beside its
            rows: calibrations, pictures of templates; the task's section of the report is made with it.
        threats: balls or texts, one or many, as [Linf(4 / 255), "l2:0.5"]; several of one norm give a curve. A ball
            without a radius, as Linf(), asks for the smallest example of each image, which gives the whole curve.
        out: a folder that does not exist yet, or with `resume` one that holds an interrupted run. None: a new folder
            among the system's temporary files, which the observer is told.
        suite: "quick", "standard", "thorough", or attacks: names (`sparring list attacks`), also with parameters
            ("pgd:steps=10,n_restarts=3") or of a file ("FILE.py:NAME"), classes, and objects made within one of the
            threats, which run within each of them.
        goal: of a classifier "misclassify" (None), or "least-likely": only the class that the model holds least likely
            counts. Data of another task bring their own.
        access: "scores" or "decisions" audits a black box; None: what the target grants.
        surrogate: another model of the same classes; examples made on it are tried on the target.
        seed, repeats: the suite runs under so many seeds from this one on, each time on the images not broken yet.
        steps, restarts: of PGD. queries: of Square, or of the attacks on decisions. None: the suite's own.
        draws: passes per gradient of a random defence; None: by the gradient's variance.
        labels: "model" takes a classifier's own clean predictions as labels throughout.
        mask: bool, like one input or like all of them, (N, ...): true where a component may move. None: everywhere.
        eps: (N,) a radius for each input, in place of that of the one threat: threats=[Linf()].
        expected_accuracy: the clean accuracy that the model is expected to have, in [0, 1].
        accept: codes of findings that are taken note of, and no longer keep the audit from being green.
        batch_size: images per pass and per recorded chunk; None: by the size of the images.
        precision: of the model inside the search, "bfloat16" or "float16"; each success is confirmed without it.
        compile: the search runs through `torch.compile`, and each success is confirmed without it.
        certify: each image that withstands all attacks at a radius in Linf, L2 or L1 is then proven to withstand any,
            by bounds, or broken by an example that branch and bound finds, or left open. Of a plain classifier only.
        certify_timeout: seconds of proofs for each image and radius; 0: CROWN only.
        workers: so many processes, or "ray:N"; the records are those of one worker that has as many threads.
        devices: where workers put the model, as ["cuda:0", "cuda:1"]; one worker each where no number is given.
        observer: is told what happens.

    Raises:
        InputError, ThreatError, TargetError, GoalError, ConfigError: before the first attack.
        RunError: a folder that is in use, other arguments than the run's, a full disk.
    """
    return run_request(make_request(**locals()))


@isolated()
def make_request(
    target: Target[Any] | LoadedModel | nn.Module | str,
    data: Any,
    *,
    threats: Threats,
    out: Path | str | None = None,
    surrogate: Target[Any] | LoadedModel | nn.Module | str | None = None,
    accept: Sequence[str] = (),
    resume: bool = False,
    command: str | None = None,
    observer: AuditObserver | None = None,
    batch_size: int | None = None,
    workers: int | str | None = None,
    devices: Sequence[str] | None = None,
    mask: Tensor | None = None,
    eps: Tensor | None = None,
    goal: str | None = None,
    **effort: Any,
) -> AuditRequest:
    """Make the request of `audit`, checked as far as that is possible without asking the model."""
    target = named_model(target)
    loaded = target if isinstance(target, LoadedModel) else None
    attacked = as_target(target)
    surrogate = None if surrogate is None else named_model(surrogate)
    task, inputs = task_of(attacked), attacked.inputs
    other = None if surrogate is None else as_target(surrogate)
    pool = parse_workers(workers, devices)
    if out is not None and not isinstance(out, str | Path):
        raise ConfigError(f'out={out!r:.60} is no folder; pass its path, as out="runs/first"')
    refuse_shared_services(pool, attacked, other)
    source = load_source(data, loaded or attacked)
    first = next(iter(source.chunks(1)), None)
    reference = checked_reference(getattr(source, "reference", None))
    limits = RegionLimits.make(mask, eps, () if first is None else tuple(first.images.shape[1:]))
    radii, smallest = split_threats(threats, inputs)
    if limits.eps is not None:
        radii, smallest = (row_radii(radii, smallest, limits.eps, inputs),), ()
    plan = make_audit_plan(
        model=loaded.name if loaded else attacked.name,
        data=source.name,
        threats=radii,
        smallest=smallest,
        batch_size=fitting_batch_size(source) if batch_size is None else batch_size,
        surrogate=None if surrogate is None else getattr(surrogate, "name", None) or as_target(surrogate).name,
        goal=goal_of_plan(task, goal, effort.get("labels"), first),
        mask=limits.mask_digest,
        eps=limits.eps_digest,
        reference=reference_digest(reference),
        **effort,
    )
    return AuditRequest(
        target=attacked,
        source=source,
        plan=plan,
        out=temporary_folder(observer) if out is None else Path(out),
        loaded=loaded,
        surrogate=other,
        resume=resume,
        accept=check_codes(tuple(accept)),
        command=command or "sparring.audit(...)",
        observer=observer or AuditObserver(),
        workers=pool,
        limits=limits,
        reference=reference,
    )


def named_model(given: Any) -> Any:
    """Return the model of a name, as "zoo:mnist-plain"; anything else as it is."""
    return load_model(given) if isinstance(given, str) else given


def temporary_folder(observer: AuditObserver | None) -> Path:
    """Make a new folder for a run that none was named for, and tell the observer."""
    folder = Path(tempfile.mkdtemp(prefix="sparring-"))
    (observer or AuditObserver()).report_message(
        f"no folder is named for the run: its records and report are in {folder}"
    )
    return folder


def goal_of_plan(task: Task, goal: str | None, labels: str | None, first: Chunk | None) -> str:
    """Return the attacker's goal in words: of a classifier what was asked for, of other tasks that of the data.

    Raises: ConfigError for a word that is none, GoalError for what only a classifier can be asked.
    """
    if isinstance(task, Classification):
        check_word("goal", goal, GOALS)
        return goal or GOALS[0]
    if goal is not None:
        raise GoalError(
            f"goal={goal!r} is one of a classifier; data of {task.name} bring their goal in each batch: leave it out"
        )
    if labels == "model":
        raise GoalError(
            f"labels='model' takes the classes of a classifier for right, and {task.name} has none; leave it out"
        )
    given = None if first is None else first.goal
    return "none" if given is None else goal_words(given)


def row_radii(radii: tuple[Threat, ...], smallest: tuple[Norm, ...], eps: Tensor, inputs: Inputs) -> Threat:
    """Return the one threat whose radius is another for each input, named after the smallest and the largest.

    Raises: ThreatError where there are several threats, or a radius is none in this norm.
    """
    count = sum(len(threat.radii) for threat in radii) + len(smallest)
    if count != 1:
        raise ThreatError(
            f"eps gives each input one radius, and there are {count} threats; pass one, as threats=[Linf()], and audit "
            "the others without eps"
        )
    norm = radii[0].norm if radii else smallest[0]
    low, high = float(eps.min()), float(eps.max())
    if norm == "L0" and not bool((eps == eps.round()).all()):
        raise ThreatError("an L0 radius counts components, and some of eps are not whole; pass eps.round()")
    text = f"{high:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
    return Threat(norm=norm, radii=(check_radius(high, text, norm, f"{norm} with eps", widest(inputs)),))


def widest(inputs: Inputs) -> float:
    """Return how far two values of an input may lie apart, over all components."""
    low, high = (torch.as_tensor(bound, dtype=torch.float64) for bound in (inputs.low, inputs.high))
    return float((high - low).max())


def split_threats(given: Threats, inputs: Inputs | None = None) -> tuple[tuple[Threat, ...], tuple[Norm, ...]]:
    """Split into threats with radii, and norms of balls without one."""
    listed = listed_threats(given)
    free = [one for one in listed if isinstance(one, Ball) and math.isinf(one.eps)]
    norms = [name for name, kind in BALLS.items() if any(type(one) is kind for one in free)]
    rest = [one for one in listed if one not in free]
    return tuple(merged_threats(rest, widest(inputs or Images()))), tuple(norms)


@isolated()
def run_request(request: AuditRequest) -> Report:
    """Run the audit, from the first check of the data to the report."""
    admission = Admission(restricted(request.target, request.plan), request.plan, request.limits)
    first = admission.check_first(request.source)
    evaluated = evaluated_target(request.target, request.plan, first, request.surrogate)
    for _, view in evaluated.views:
        check_suites(view, request.plan, first)
    facts = run_facts(evaluated, request, admission, first.goal())
    worker = ChunkWorker(compile_views(evaluated, request.plan), admission)
    if request.plan.certify:
        worker.capture(first.images)
        report_uncertified(request)
    pool = make_pool(request.workers, worker, request.observer)
    with nullcontext() if pool is None else closing(pool):
        return record_run(request, evaluated, facts, worker, pool)


def record_run(
    request: AuditRequest, evaluated: EvaluatedTarget, facts: Facts, worker: ChunkWorker, pool: WorkerPool | None
) -> Report:
    """Probe, attack and record, then write the report."""
    with ExitStack() as stack:
        records = stack.enter_context(closing(open_records(request, worker.admission, facts, pool, stack)))
        records.accept(request.accept, utc_timestamp())
        if not records.probe_results():
            request.observer.probing()
            clock = time.perf_counter()
            measured = run_probes(evaluated, worker.admission, request.source, request.plan, request.observer)
            records.record_probes(measured | {"seconds": time.perf_counter() - clock})
        if not records.finished:
            try:
                attack_all(records, request, worker, pool)
                certify_standing(records, request, worker, pool)
                records.finish(request.source.skipped)
            except LockedOut as error:
                request.observer.report_message(
                    f"{error}; what was recorded before stands, and --resume goes on where answers are had"
                )
        request.observer.publishing()
        return publish(records, records.folder, type(task_of(request.target)))


def check_suites(target: Target[Any], plan: AuditPlan, first: CleanChunk) -> None:
    """Raise where the plan has no attack for one of its threats, or one that serves no such inputs or no mask."""
    mask, eps = first.limits.mask, first.limits.eps
    refuse_idle_attacks(plan)
    for ball in plan.balls():
        for entry in suite(target.access, ball, plan, knows_detector(target)):
            entry.attack.check(region_of(entry.attack, target, first.images, mask, eps))


def open_records(
    request: AuditRequest, admission: Admission, facts: Facts, pool: WorkerPool | None, stack: ExitStack
) -> Records:
    """Open the records of an interrupted run and compare the data with its own, or check all the data and begin anew.

    The folder is locked until `stack` is closed.
    """
    model = ModelIdentity.make(request.target, request.surrogate, admission.answers)
    if request.out.is_dir():
        stack.enter_context(locked(request.out, "an audit"))
    if request.resume and has_run(request.out):
        records = Records.resume(request.out, request.plan, facts, model)
        try:
            refuse_changing(records)
            compare_data(records, request)
            records.compare_answers(model)
            records.add_certificates(request.plan)
            records.count_resumed()
            write_limits(request)
        except BaseException:
            records.close()
            raise
        safe = records.chunks()
        request.observer.resumed(len(safe), sum(safe.values()))
        return records
    refuse_used(request.out)
    if pool is not None:
        pool.start()
    parts: list[Part] = []
    admission.check_all(request.source, request.observer, lambda chunk: parts.append(part_of(chunk, request.plan)))
    made = request.out.is_dir()
    with writing(request.out, begun=False):
        request.out.mkdir(parents=True, exist_ok=True)
    if not made:
        stack.enter_context(locked(request.out, "an audit"))
    records = Records.begin(request.out, request.plan, facts, model, parts, request.reference)
    write_limits(request)
    return records


def write_limits(request: AuditRequest) -> None:
    """Write the picture of the mask into the run folder, where there is one."""
    if isinstance(request.target.inputs, Images):
        write_mask_picture(request.out, request.limits.mask)


def compare_data(records: Records, request: AuditRequest) -> None:
    """Read all the data once. RunError where they are other than when the run was begun, recorded or not."""
    before, seen = records.parts(), 0
    total = sum(part.rows for part in before)
    number = -1
    for number, (chunk, part) in enumerate(read_parts(request.source, request.plan)):
        check_same(records, before, number, chunk, part)
        seen += part.rows
        request.observer.comparing_data(seen, total)
    if number + 1 < len(before):
        raise other_data(records, f"fewer images ({seen}, not {total})")


def attack_all(records: Records, request: AuditRequest, worker: ChunkWorker, pool: WorkerPool | None) -> None:
    """Attack every chunk that is not yet recorded, and record them in order."""
    plan, source, observer, kept = request.plan, request.source, request.observer, fallen_in_records(records)
    total = source.candidates if plan.limit is None else plan.limit
    left = unrecorded(records, request)
    observer.attacks_begin()
    for done in work_here(worker, left, observer) if pool is None else work_in_pool(pool, request.workers.count, left):
        assert isinstance(done, ChunkResult)
        number, clean, events = done.number, done.clean, done.events
        rows = chunk_rows(number, clean, events, done.seconds, kept)
        if rows.tensors:
            with writing(records.folder):
                write_examples(records.folder / example_file(number), rows.tensors)
        records.commit(rows, source.skipped)
        count_fallen(kept, events)
        standing = still_standing(clean, events, plan)
        observer.recorded(ChunkRecorded(number, clean.first + len(clean), total, standing, len(clean), done.seconds))


def report_uncertified(request: AuditRequest) -> None:
    """Tell the observer which threats have no certificates."""
    left = request.plan.uncertified_threats
    if left:
        have = "has" if len(left) == 1 else "have"
        request.observer.report_message(f"certificates are for radii in Linf, L2 and L1: {'; '.join(left)} {have} none")


def certify_standing(records: Records, request: AuditRequest, worker: ChunkWorker, pool: WorkerPool | None) -> None:
    """Work on the certificates that the plan asks for and that are not recorded yet."""
    if request.plan.certify:
        from .certification import certify_all  # which imports scipy

        certify_all(records, request, worker, pool, CHANGED in records.probe_results())


def unrecorded(records: Records, request: AuditRequest) -> Iterator[tuple[int, Chunk]]:
    """Yield the chunks that are not recorded yet, with their numbers.

    The first that is another than when the run was begun is told, and recorded for the report.
    """
    safe, before, told = records.chunks(), records.parts(), False
    number = -1
    for number, chunk in enumerate(limit_chunks(request.source, request.plan.batch_size, request.plan.limit)):
        if number in safe:
            continue
        if number >= len(before):
            raise other_data(records, f"more images (not {sum(part.rows for part in before)})")
        if not told and part_of(chunk, request.plan) != before[number]:
            told = True
            records.record_probes({CHANGED: {"chunk": number, "first": chunk.first}})
            request.observer.report_message(
                f"{request.source.name} gives other images at {chunk.first} each time that it is read, as a shuffled "
                "loader or a random transform does: this run can be neither repeated nor resumed"
            )
        yield number, chunk
    if number + 1 < len(before):
        raise other_data(records, f"fewer images (not {sum(part.rows for part in before)})")


def refuse_changing(records: Records) -> None:
    """Raise RunError for a run whose data gave other images each time: which are left cannot be told."""
    if CHANGED in records.probe_results():
        raise RunError(
            f"the data of {records.folder} gave other images each time that it was read, so the run cannot be resumed; "
            "turn shuffling and random transforms off, and choose another --out"
        )


def check_same(records: Records, before: list[Part], number: int, chunk: Chunk, part: Part) -> None:
    """Raise RunError where a chunk of the data is another than when the run was begun."""
    if number >= len(before):
        raise other_data(records, f"more images (not {sum(one.rows for one in before)})")
    if part != before[number]:
        what = "images or labels" if chunk.goal is None else "inputs or goals"
        raise other_data(records, f"other {what} at {part.first} to {part.first + part.rows - 1}")


def other_data(records: Records, what: str) -> RunError:
    """Return the error for data that are not those of the run."""
    return RunError(
        f"{records.facts.data} gives {what} than when {records.folder} was begun; turn shuffling and random changes of "
        "the images off, restore the data, or choose another --out"
    )


def fallen_in_records(records: Records) -> KeptOriginals:
    """Return how many samples each (norm, eps, attack) broke, in the chunks recorded so far."""
    question = "SELECT norm, eps, attack, COUNT(*) FROM result WHERE success GROUP BY norm, eps, attack"
    return Counter({(norm, eps, attack): count for norm, eps, attack, count in records.select(question)})


def count_fallen(kept: KeptOriginals, events: list[Event]) -> None:
    """Add to `kept`, in place, how many rows of a chunk fell to each (norm, eps, attack) of its events."""
    for event in events:
        if isinstance(event, AttackResult):
            kept[event.slot.norm, event.slot.eps, event.attack] += int(event.fell.sum())


def still_standing(clean: CleanChunk, events: list[Event], plan: AuditPlan) -> dict[str, int]:
    """Return how many of the chunk's images are not broken at each threat and radius."""
    standing = {}
    for threat in plan.threats:
        stands = clean.correct.clone()
        for radius in threat.radii:
            for one in events:
                if isinstance(one, AttackResult) and (one.slot.norm, one.slot.eps) == (threat.norm, radius.eps):
                    stands[one.rows[one.fell]] = False
            standing[f"{threat.norm} {radius.text}"] = int(stands.sum())
    return standing


def publish(records: Records, out: Path, task: type[Task] | None = None) -> Report:
    """Write report.json, report.html and the pictures of an open run into the folder `out`, and return the report.

    `task`: whose sections the report has; None: the class of that name, where one is loaded.
    """
    report = summarize(records, out, task)
    report = report.model_copy(update={"warnings": findings(records, report)})
    write_report(report, out)
    return report


def render(folder: Path, out: Path | None = None) -> Report:
    """Make the report of the run in `folder` again from its records, write it, and return it.

    Args:
        folder: the folder of an audit, finished or not; it is only read where `out` names another.
        out: the folder for report.json, report.html and pictures; None: that of the run.

    Raises: RunError where there is no run, or `out` cannot be written.
    """
    with closing(Records.open(folder, read_only=True)) as records:
        return publish(records, folder if out is None else out)
