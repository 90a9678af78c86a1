"""Certificates after the attacks: which images are asked about, in which order, and what is recorded of them.

First come bounds, for all images that withstood the attacks, some at a time; then branch and bound, for the images that
are still open, one at a time. Each of these jobs is one transaction: what is stopped loses the job under way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..defenses.certification import Status
from ..defenses.certification.radii import CODES
from ..errors import SparringError
from ..threats import Norm
from ..zoo import Chunk
from ..zoo.batches import rows_of
from .evaluation.batches import limit_chunks
from .evaluation.certificates import CertificateTask, CertifiedImages
from .observer import CertificatesRecorded
from .parallel.chunk_worker import Answer, ChunkWorker
from .parallel.worker_pool import WorkerPool, work_here, work_in_pool
from .records.certificates import certificate_rows, contradictions, verdicts
from .records.database import Records
from .records.example_files import write_examples
from .records.identity import part_of
from .records.run_folder import writing
from .request import AuditRequest

GROUP = 8  # images whose bounds are computed, and recorded, together


@dataclass(frozen=True)
class OpenImages:
    """What is known of all N images, and which of them this pass asks about.

    Args:
        known: (R, N) uint8 for each norm, numbers in `STATUSES`.
        asked: (N,) bool.
        labels, aims: (N,) int64, the classes of the records.
    """

    known: dict[Norm, Tensor]
    asked: Tensor
    labels: Tensor
    aims: Tensor | None


def certify_all(
    records: Records, request: AuditRequest, worker: ChunkWorker, pool: WorkerPool | None, changed: bool
) -> None:
    """Work on every certificate that is not recorded yet; `changed`: the data are others each time they are read."""
    plan, observer = request.plan, request.observer
    if not plan.certified_threats:
        return
    if changed:
        observer.report_message(
            "no certificates are made: the data gave other images than those that were attacked, as a shuffled loader "
            "or a random transform does"
        )
        return
    passes = [(GROUP, 0.0)] + ([(1, plan.certify_timeout)] if plan.certify_timeout > 0 else [])
    for size, timeout in passes:
        left = open_images(records, searched=timeout > 0)
        total, done = int(left.asked.sum()), 0
        jobs = certificate_tasks(records, request, left, size, timeout)
        observer.certifying(total, timeout)
        answers = work_here(worker, jobs, observer) if pool is None else work_in_pool(pool, request.workers.count, jobs)
        for answer in told_where_attacks_are(answers, records):
            assert isinstance(answer, CertifiedImages)
            rows = certificate_rows(answer)
            if rows.tensors:
                with writing(records.folder):
                    write_examples(records.folder / rows.file, rows.tensors)
            records.commit_certificates(rows.results, rows.certificates, rows.originals)
            done += int(left.asked[answer.clean.first : answer.clean.first + len(answer.clean)].sum())
            words = Counter(row["verdict"] for row in rows.certificates)
            observer.certified(CertificatesRecorded(done, total, words["proven"], words["broken"], words["open"]))
            found = contradictions(records, answer.clean.first, answer.clean.first + len(answer.clean) - 1)
            if found:
                observer.report_message(
                    f"a certificate is contradicted: {found[0].name} is recorded as proven at {found[0].threat}, and "
                    f"{found[0].attack} broke it; do not rely on the certificates of this run, and report it"
                )


def told_where_attacks_are(answers: Iterator[Answer], records: Records) -> Iterator[Answer]:
    """Yield the answers; an error of certificates says that the attacks are safe, and how to read them."""
    try:
        yield from answers
    except SparringError as error:
        raise type(error)(
            f"{error}; every attack is recorded: read them with sparring report {records.folder}"
        ) from error


def open_images(records: Records, searched: bool) -> OpenImages:
    """Return the images that bounds, or (`searched`) branch and bound, have not been asked about."""
    count = records.scalar("SELECT COUNT(*) FROM sample")
    classes = [(row["label"], row["aim"]) for row in records.select("SELECT label, aim FROM sample ORDER BY id")]
    known: dict[Norm, Tensor] = {}
    asked = torch.zeros(count, dtype=torch.bool)
    for threat in records.plan.certified_threats:
        rows = torch.full((len(threat.radii), count), CODES[Status.OPEN], dtype=torch.uint8)
        for number, radius in enumerate(threat.radii):
            for one in verdicts(records, threat.norm, radius.eps):
                rows[number, one.sample] = CODES[Status.BROKEN if one.word == "contradicted" else Status(one.word)]
                asked[one.sample] |= one.waits(searched)
        known[threat.norm] = rows
    aims = None if not classes or classes[0][1] is None else torch.tensor([aim for _, aim in classes])
    return OpenImages(known, asked, torch.tensor([label for label, _ in classes]), aims)


def certificate_tasks(
    records: Records, request: AuditRequest, left: OpenImages, size: int, timeout: float
) -> Iterator[tuple[int, CertificateTask]]:
    """Yield the jobs of one pass, of `size` images at most, with their numbers; what is known all over is left out."""
    plan, before, job = request.plan, records.parts(), 0
    for number, chunk in enumerate(limit_chunks(request.source, plan.batch_size, plan.limit)):
        asked = left.asked[chunk.first : chunk.first + len(chunk.images)]
        if not bool(asked.any()):
            continue
        if number >= len(before) or part_of(chunk, plan) != before[number]:
            request.observer.report_message(
                f"{request.source.name} gives other images at {chunk.first} than those that were attacked: they have "
                "no certificates"
            )
            continue
        for start in range(0, len(chunk.images), size):
            rows = slice(start, min(start + size, len(chunk.images)))
            if bool(asked[rows].any()):
                yield job, task_of(chunk, rows, left, timeout)
                job += 1


def task_of(chunk: Chunk, rows: slice, left: OpenImages, timeout: float) -> CertificateTask:
    """Return the task of some rows of a chunk; rows that are not asked about count as decided."""
    samples = slice(chunk.first + rows.start, chunk.first + rows.stop)
    part = Chunk(chunk.images[rows], names=chunk.names[rows], first=samples.start, **rows_of(chunk, rows))
    silent = ~left.asked[samples]
    known = {
        norm: codes[:, samples].masked_fill(silent & (codes[:, samples] == CODES[Status.OPEN]), CODES[Status.BROKEN])
        for norm, codes in left.known.items()
    }
    aims = None if left.aims is None else left.aims[samples]
    return CertificateTask(part, left.labels[samples], aims, known, timeout)
