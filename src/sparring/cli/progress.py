"""An audit or a fit watched on the console: bars on a terminal, one line per chunk or epoch elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from ..audit import ChunkDone, Tally, Watch
from ..audit.statistics import share
from ..engine import Progress as Step
from .console import out, plain, say
from .verdict import spoken


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
