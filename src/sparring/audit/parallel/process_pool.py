"""A pool of worker processes on this machine.

No worker is forked from this process, whose threads and devices it would inherit half-way: on Linux they are forked
from a server that has only imported the package (forkserver), elsewhere they start afresh (spawn).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import torch

from ...errors import ConfigError, RunError, described, user_frame
from ..observer import AuditObserver
from .chunk_worker import (
    Answer,
    ChunkFailure,
    ChunkWorker,
    Job,
    answer_chunk,
    deserialize,
    picklable,
    serialize,
    serialize_job,
    unpack_worker,
)
from .worker_pool import MAX_RETRIES, worker_lost_error
from .workers import Workers

READY = b""
GONE = (EOFError, OSError)


@dataclass
class PendingChunk:
    """A chunk that waits or is attacked, and how many workers died with it."""

    number: int
    packed: bytes
    deaths: int = 0


@dataclass
class WorkerProcess:
    """A worker process, and the chunk that it works on."""

    place: int
    process: BaseProcess
    ready: bool = False
    task: PendingChunk | None = None

    @property
    def ended(self) -> str:
        """Wait for the process and say in words how it ended."""
        self.process.join()
        code = self.process.exitcode or 0
        return f"killed by signal {-code}" if code < 0 else f"with exit code {code}"


class ProcessPool:
    """Worker processes started by multiprocessing; see `WorkerPool`."""

    def __init__(self, workers: Workers, worker: ChunkWorker, observer: AuditObserver) -> None:
        self.workers, self.worker, self.observer = workers, worker, observer
        self.home = str(worker.evaluated.target.device)
        self.packed = b""
        self.queue: deque[PendingChunk] = deque()
        self.workers_by_link: dict[Connection, WorkerProcess] = {}
        self.failed_starts = 0

    def start(self) -> None:
        if not self.workers_by_link:
            self.packed = self.worker.to_bytes()
            for place in range(self.workers.count):
                self._start(place)

    def submit(self, number: int, job: Job) -> None:
        self.start()
        self.queue.append(PendingChunk(number, serialize_job(number, job)))
        self._hand_out()

    def next_result(self) -> Answer | ChunkFailure:
        while True:
            for link in wait([*self.workers_by_link]):
                assert isinstance(link, Connection)
                try:
                    message = link.recv_bytes()
                except GONE:
                    self._lost(link)
                    continue
                if message != READY:
                    self.workers_by_link[link].task = None
                    self._hand_out()
                    answer: Answer | ChunkFailure = deserialize(message)
                    return answer
                self._welcome(link)

    def close(self) -> None:
        for link, worker in self.workers_by_link.items():
            worker.process.kill()
            worker.process.join()
            worker.process.close()
            link.close()
        self.workers_by_link.clear()

    def _start(self, place: int) -> None:
        context = get_context("forkserver" if sys.platform == "linux" else "spawn")
        context.set_forkserver_preload([__name__])
        ours, theirs = context.Pipe()
        device = self.workers.device_of(place)
        moved = None if device is None else {self.home: device}
        process = context.Process(target=worker_main, args=(theirs, self.workers.threads, moved), daemon=True)  # type: ignore[attr-defined]
        process.start()
        theirs.close()
        self.workers_by_link[ours] = WorkerProcess(place, process)

    def _welcome(self, link: Connection) -> None:
        """Send a worker that has started the model and the plan."""
        with suppress(*GONE):  # a death is noticed when it is listened to
            link.send_bytes(self.packed)
            self.workers_by_link[link].ready = True
        self._hand_out()

    def _hand_out(self) -> None:
        for link, worker in self.workers_by_link.items():
            if self.queue and worker.ready and worker.task is None:
                worker.task = self.queue.popleft()
                with suppress(*GONE):
                    link.send_bytes(worker.task.packed)

    def _lost(self, link: Connection) -> None:
        """Replace a worker that died, and put its chunk at the front of the queue."""
        worker = self.workers_by_link.pop(link)
        link.close()
        how, task = worker.ended, worker.task
        if task is None:
            self.failed_starts += not worker.ready
            if self.failed_starts > MAX_RETRIES:
                raise RunError(
                    f"{self.failed_starts} workers ended before they began, the last one {how}; what they wrote above "
                    "says why. A script that audits with workers does so under: if __name__ == '__main__'"
                )
            self.observer.report_message(f"a worker ended {how}; another takes its place")
        else:
            task.deaths += 1
            if task.deaths > MAX_RETRIES:
                raise worker_lost_error(task.number, how)
            self.observer.report_message(f"a worker ended on chunk {task.number}, {how}; another takes it")
            self.queue.appendleft(task)
        self._start(worker.place)
        self._hand_out()


def worker_main(link: Connection, threads: int, moved: dict[str, str] | None) -> None:
    """Attack chunks until the link closes; Ctrl-C is left to the process that keeps the records."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    with suppress(*GONE):
        link.send_bytes(READY)
        packed = link.recv_bytes()
        try:
            worker = unpack_worker(packed, moved)
        except BaseException as error:
            failed: BaseException = error
            if user_frame(error.__traceback__) is None and isinstance(error, Exception):
                failed = ConfigError(f"the model cannot be opened in a worker: {described(error)}")
            link.send_bytes(serialize(ChunkFailure(None, picklable(failed))))
            return
        while True:
            link.send_bytes(answer_chunk(worker, link.recv_bytes()))


def end_with_parent() -> None:
    """End this worker at once when its parent is killed, also in the middle of a chunk."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
