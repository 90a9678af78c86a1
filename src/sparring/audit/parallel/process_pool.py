"""A crew of processes on this machine.

None is a copy of this one, of which it would inherit threads and devices half-way: on Linux they are copies of a
server that has imported everything and done nothing (forkserver), elsewhere they start afresh (spawn).
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

from ...errors import ConfigError, RunError
from ...zoo import Chunk
from ..observer import Watch
from .chunk_worker import Attacked, Failed, Hands, answered, opened, pack, pack_chunk, portable, unpack
from .worker_pool import AGAIN, given_up
from .workers import Workers

READY = b""
GONE = (EOFError, OSError)


@dataclass
class Task:
    """A chunk on its way, and how many workers died with it."""

    number: int
    packed: bytes
    lost: int = 0


@dataclass
class Worker:
    """A process and what it has to do."""

    place: int
    process: BaseProcess
    ready: bool = False
    task: Task | None = None

    @property
    def ended(self) -> str:
        """How it ended, in words."""
        self.process.join()
        code = self.process.exitcode or 0
        return f"killed by signal {-code}" if code < 0 else f"with exit code {code}"


class Processes:
    """See `Crew`."""

    def __init__(self, workers: Workers, hands: Hands, watch: Watch) -> None:
        self.workers, self.hands, self.watch = workers, hands, watch
        self.home = str(hands.ring.target.device)
        self.packed = b""
        self.queue: deque[Task] = deque()
        self.team: dict[Connection, Worker] = {}
        self.stillborn = 0

    def warm(self) -> None:
        if not self.team:
            self.packed = self.hands.packed()
            for place in range(self.workers.count):
                self._start(place)

    def give(self, number: int, chunk: Chunk) -> None:
        self.warm()
        self.queue.append(Task(number, pack_chunk(number, chunk)))
        self._hand_out()

    def take(self) -> Attacked | Failed:
        while True:
            for link in wait([*self.team]):
                assert isinstance(link, Connection)
                try:
                    said = link.recv_bytes()
                except GONE:
                    self._lost(link)
                    continue
                if said != READY:
                    self.team[link].task = None
                    self._hand_out()
                    answer: Attacked | Failed = unpack(said)
                    return answer
                self._welcome(link)

    def close(self) -> None:
        for link, worker in self.team.items():
            worker.process.kill()
            worker.process.join()
            worker.process.close()
            link.close()
        self.team.clear()

    def _start(self, place: int) -> None:
        context = get_context("forkserver" if sys.platform == "linux" else "spawn")
        context.set_forkserver_preload([__name__])
        ours, theirs = context.Pipe()
        device = self.workers.place(place)
        moved = None if device is None else {self.home: device}
        process = context.Process(target=work, args=(theirs, self.workers.threads, moved), daemon=True)  # type: ignore[attr-defined]
        process.start()
        theirs.close()
        self.team[ours] = Worker(place, process)

    def _welcome(self, link: Connection) -> None:
        """Give a worker that has started what it needs."""
        with suppress(*GONE):  # a death is noticed when it is listened to
            link.send_bytes(self.packed)
            self.team[link].ready = True
        self._hand_out()

    def _hand_out(self) -> None:
        for link, worker in self.team.items():
            if self.queue and worker.ready and worker.task is None:
                worker.task = self.queue.popleft()
                with suppress(*GONE):
                    link.send_bytes(worker.task.packed)

    def _lost(self, link: Connection) -> None:
        """A worker died: another takes its place, and the chunk is next."""
        worker = self.team.pop(link)
        link.close()
        how, task = worker.ended, worker.task
        if task is None:
            self.stillborn += not worker.ready
            if self.stillborn > AGAIN:
                raise RunError(
                    f"{self.stillborn} workers ended before they began, the last one {how}; what they wrote above says "
                    "why. A script that audits with workers does so under: if __name__ == '__main__'"
                )
            self.watch.told(f"a worker ended {how}; another takes its place")
        else:
            task.lost += 1
            if task.lost > AGAIN:
                raise given_up(task.number, how)
            self.watch.told(f"a worker ended on chunk {task.number}, {how}; another takes it")
            self.queue.appendleft(task)
        self._start(worker.place)
        self._hand_out()


def work(link: Connection, threads: int, moved: dict[str, str] | None) -> None:
    """What a worker does until nobody asks any more; Ctrl-C is for the process that keeps the records."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    with suppress(*GONE):
        link.send_bytes(READY)
        packed = link.recv_bytes()
        try:
            hands = opened(packed, moved)
        except Exception as error:
            told = ConfigError(f"the model cannot be opened in a worker: {type(error).__name__}: {error}")
            link.send_bytes(pack(Failed(None, portable(told))))
            return
        while True:
            link.send_bytes(answered(hands, link.recv_bytes()))


def end_with_parent() -> None:
    """A worker whose parent was killed ends at once, in the middle of a chunk too."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
