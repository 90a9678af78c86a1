"""Time spent by a run, and the limit that ends one."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import torch


class TimeLimitReached(BaseException):
    """Raised inside the library under measurement; not an `Exception`, so that no library swallows it."""


@dataclass
class Elapsed:
    """Seconds of one run: of the processor, of the device (CUDA events; None on a CPU), and on the wall."""

    cpu: float = 0.0
    device: float | None = None
    wall: float = 0.0

    @property
    def measured(self) -> float:
        """The figure that is compared: device seconds on a GPU, processor seconds elsewhere."""
        return self.cpu if self.device is None else self.device


@contextmanager
def stopwatch(device: str) -> Iterator[Elapsed]:
    """Time the block; what it yields is filled in when the block ends, also by an exception."""
    elapsed = Elapsed()
    on_gpu = device.startswith("cuda")
    if on_gpu:
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize()
        begin.record()
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        yield elapsed
    finally:
        if on_gpu:
            end.record()
            torch.cuda.synchronize()
            elapsed.device = begin.elapsed_time(end) / 1000
        elapsed.cpu = time.process_time() - cpu
        elapsed.wall = time.perf_counter() - wall


@contextmanager
def time_limit(seconds: float, device: str) -> Iterator[None]:
    """Raise TimeLimitReached after so many seconds: of the processor on a CPU, of the wall on a GPU."""
    on_gpu = device.startswith("cuda")
    timer, number = (signal.ITIMER_REAL, signal.SIGALRM) if on_gpu else (signal.ITIMER_PROF, signal.SIGPROF)

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise TimeLimitReached

    previous = signal.signal(number, stop)
    signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        signal.setitimer(timer, 0)
        signal.signal(number, previous)
