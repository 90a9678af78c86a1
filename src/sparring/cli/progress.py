"""An audit, a fit or a training on the console: bars on a terminal, one line per chunk or epoch elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from ..audit import ChunkDone, Tally, Watch
from ..audit.statistics import share
from ..engine import Progress as Step
from .console import out, plain, say
from .verdict import spoken

if TYPE_CHECKING:
    from ..defenses.training import Epoch
    from ..defenses.training import Progress as Training


class Bars:
    """Bars that are there while it is open, on a terminal."""

    def __init__(self) -> None:
        self.live = sys.stdout.isatty()
        text = TextColumn("{task.description}", markup=False)
        columns = (text, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self.bars = Progress(*columns, console=out(), transient=True, disable=not self.live)
        self.attack: TaskID | None = None

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()

    def show(self, words: str, done: int, total: int) -> None:
        """The attack under way."""
        if self.attack is None:
            self.attack = self.bars.add_task("")
        self.bars.update(self.attack, description=words, completed=done, total=total)


class FitWatch(Bars):
    """One bar over all steps, and a line per epoch where there is no terminal."""

    def step(self, progress: Step) -> None:
        per_epoch = -(-progress.total // progress.batch)
        epochs, epoch = progress.steps // per_epoch, -(-progress.step // per_epoch)
        words = f"{progress.attack}: epoch {epoch} of at most {epochs}"
        if self.live:
            self.show(words, progress.step, progress.steps)
        elif progress.step % per_epoch == 0:
            say(words)


class TrainWatch(Bars):
    """One bar over all updates, and a line per epoch."""

    def __init__(self, resumed: bool) -> None:
        super().__init__()
        self.told: int | None = None if resumed else 0
        self.began: tuple[float, int] | None = None
        self.epochs = 0

    def reading(self, done: int, total: int) -> None:
        """Before the training: images looked at."""
        self.show("reading the images", done, total)

    def step(self, progress: Training) -> None:
        """After each update; the last epoch's line comes when the next begins."""
        now = time.perf_counter()
        if self.began is None:
            self.began = now, progress.update
        if self.told is None:
            self.told = len(progress.log)
            say(f"taken up again after {progress.update - 1} of {progress.updates} updates")
        self.epochs = progress.epochs
        since, first = self.began
        done = progress.update - first
        left = (now - since) / done * (progress.updates - progress.update) if done else None
        self.tell(progress.log, left)
        remaining = "" if left is None else f", {clock(left)} left"
        self.show(f"epoch {progress.epoch} of {progress.epochs}{remaining}", progress.update, progress.updates)

    def tell(self, log: Sequence[Epoch], left: float | None = None) -> None:
        """A line for each epoch that had none yet."""
        for epoch in log[self.told or 0 :] if self.told is not None else ():
            shares = {"clean": epoch.clean, "single step": epoch.single_step, "robust": epoch.robust}
            said = "".join(f", {name} {value:.1%}" for name, value in shares.items() if not math.isnan(value))
            remaining = "" if left is None else f", {clock(left)} left"
            of = f" of {self.epochs}" if self.epochs else ""
            self.line(f"epoch {epoch.epoch}{of}: loss {epoch.loss:.4f}{said}{remaining}")
            if epoch.note:
                self.line(epoch.note, "yellow")
        self.told = len(log)

    def line(self, words: str, style: str = "") -> None:
        """Above the bar."""
        if self.live:
            self.bars.console.print(plain(words), style=style)
        else:
            say(words, style)


def clock(seconds: float) -> str:
    """1:02:03."""
    return str(timedelta(seconds=round(seconds)))


class ConsoleWatch(Bars, Watch):
    """Two bars: images done, and the attack under way."""

    def __init__(self) -> None:
        super().__init__()
        self.images: TaskID | None = None

    def _images(self, words: str, done: int, total: int | None) -> None:
        if self.images is None:
            self.images = self.bars.add_task(words)
        self.bars.update(self.images, description=words, completed=done, total=total)

    def looking(self, tally: Tally) -> None:
        self._images("looking at the clean images", tally.seen, tally.total)

    def looked(self, tally: Tally) -> None:
        if tally.labelled:
            say(f"clean accuracy {spoken(share(tally.correct, tally.labelled))}")
        without = tally.seen - tally.labelled
        if without:
            say(
                f"{without} of {tally.seen} images have no label: the model's own clean prediction stands in, so that "
                "robust accuracy is agreement with it"
            )

    def resumed(self, chunks: int, samples: int) -> None:
        say(f"taken up again after {samples} images in {chunks} chunks")

    def step(self, progress: Step) -> None:
        if self.live:
            self.show(plain(f"{progress.attack}: {progress.live} images in play"), progress.step, progress.steps)

    def recorded(self, done: ChunkDone) -> None:
        self._images("audited", done.seen, done.total)
        if not self.live:
            standing = ", ".join(f"{threat}: {left}" for threat, left in done.standing.items())
            of = f" of {done.total}" if done.total else ""
            say(f"{done.seen}{of} images, {done.seconds:.1f} s; of these {done.count} still stand {standing}")
