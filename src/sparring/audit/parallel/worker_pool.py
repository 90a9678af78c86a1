"""The base class of worker pools, which return their results in the order of the chunks.

This process reads the data and keeps the records; a worker has one chunk at a time. The records equal those of a single
worker: an image's draws are keyed by its position in the data, chunks are the same whoever attacks them, and they are
recorded in their order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from ...errors import RunError
from ..observer import AuditObserver
from .chunk_worker import Answer, ChunkFailure, ChunkWorker, Job

CHUNKS_PER_WORKER = 2  # chunks per worker that are under way, or wait for an earlier one
MAX_RETRIES = 2  # how often a chunk goes to another worker after one died with it
NumberedJobs = Iterable[tuple[int, Job]]


class WorkerPool(Protocol):
    """A pool of worker processes, each holding the model and the plan."""

    def start(self) -> None:
        """Start the workers; they load the model while this process goes on."""

    def submit(self, number: int, job: Job) -> None:
        """Queue job number `number`; the first free worker does it."""

    def next_result(self) -> Answer | ChunkFailure:
        """Wait for the next result, in any order."""

    def close(self) -> None:
        """End the workers, also in the middle of a chunk."""


def work_here(worker: ChunkWorker, jobs: NumberedJobs, observer: AuditObserver) -> Iterator[Answer]:
    """Do the jobs in this process, and yield their results."""
    for number, job in jobs:
        yield worker.answer(number, job, observer)


def work_in_pool(pool: WorkerPool, size: int, jobs: NumberedJobs) -> Iterator[Answer]:
    """Do the jobs in the pool of `size` workers, and yield the results in the order given.

    What a worker raised is raised when its job's turn comes.

    No more than CHUNKS_PER_WORKER jobs per worker are in memory.
    """
    waiting: list[int] = []
    results: dict[int, Answer | ChunkFailure] = {}
    for number, job in jobs:
        pool.submit(number, job)
        waiting.append(number)
        while len(waiting) >= CHUNKS_PER_WORKER * size:
            yield wait_for_chunk(pool, waiting.pop(0), results)
    while waiting:
        yield wait_for_chunk(pool, waiting.pop(0), results)


def wait_for_chunk(pool: WorkerPool, number: int, results: dict[int, Answer | ChunkFailure]) -> Answer:
    """Wait for the result of one job; results that come before it are kept in `results`."""
    while number not in results:
        answer = pool.next_result()
        if answer.number is None:
            assert isinstance(answer, ChunkFailure)
            raise answer.error
        results[answer.number] = answer
    answer = results.pop(number)
    if isinstance(answer, ChunkFailure):
        raise answer.error
    return answer


def worker_lost_error(number: int, how: str) -> RunError:
    """Make the error for a chunk that no worker survived; `how` says how the last one ended."""
    return RunError(
        f"{MAX_RETRIES + 1} workers died on chunk {number}, the last one {how}; where memory ran out, take fewer "
        "workers. Every chunk recorded before is safe: repeat the command with --resume"
    )
