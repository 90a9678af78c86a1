"""Progress of long work: bars on a terminal; else a line per chunk or epoch, and one every ten seconds."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from ...audit import AttackStarted, AuditObserver, CertificatesRecorded, ChunkRecorded, CleanCounts
from ...audit.records.statistics import share
from ...engine import Progress as Step
from ...experiments import ExperimentObserver
from ...text import printable
from .audit_result import share_text
from .console import out, say

if TYPE_CHECKING:
    from ...defenses.training import Epoch, TrainingProgress


EVERY = 10.0  # seconds between lines where there is no terminal


class Heartbeat:
    """Says every ten seconds what is going on, from a thread of its own: also in the middle of a long step."""

    def __init__(self, words: str | Callable[[], str]) -> None:
        self.words = words
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        self.ended.set()
        self.thread.join()

    def _beat(self) -> None:
        while not self.ended.wait(EVERY):
            say(self.words if isinstance(self.words, str) else self.words())


class ProgressBars(ExperimentObserver):
    """Bars that are there while it is open, on a terminal; elsewhere a line every ten seconds."""

    def __init__(self, words: str = "looking at the first images") -> None:
        """Say `words` until something else is known."""
        self.live = sys.stdout.isatty()
        text = TextColumn("{task.description}", markup=False)
        columns = (text, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self.bars = Progress(*columns, console=out(), transient=True, disable=not self.live)
        self.heartbeat = None if self.live else Heartbeat(words)
        self.attack: TaskID | None = None
        self.began = time.perf_counter()

    def __enter__(self) -> Self:
        self.bars.start()
        if self.heartbeat is not None:
            self.heartbeat.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()
        if self.heartbeat is not None:
            self.heartbeat.stop()

    def show(self, words: str, done: int, total: int) -> None:
        """Show the run under way: words, and how many of its steps are done."""
        if self.heartbeat is not None:
            self.heartbeat.words = f"{words}, step {done} of {total}"
            return
        if self.attack is None:
            self.attack = self.bars.add_task("")
        self.bars.update(self.attack, description=words, completed=done, total=total)

    def status(self, words: str | Callable[[], str]) -> None:
        """Show what is going on where no step reports it."""
        if self.heartbeat is not None:
            self.heartbeat.words = words

    def steps(self, name: str = "", before: float = 0.0, share: float = 0.0) -> Callable[[Step], None]:
        """What to hand to an `Engine` as progress.

        `share`: of all the work, what this run is; `before`: what lies before it; both in [0, 1]. 0: not known.
        """

        def step(progress: Step) -> None:
            words = f"{name}{progress.attack}: {progress.live} of {progress.batch} images stand"
            done = (progress.done + progress.batch * progress.step / progress.steps) / progress.total
            self.show(
                printable(words + (self.left(before + share * done) if share else "")), progress.step, progress.steps
            )

        return step

    def left(self, share: float, since: float = 0.0) -> str:
        """`, 40 % done, about 0:01:20 left`, by the time that what lies between the shares `since` and `share` took."""
        if share <= since:
            return f", {share:.0%} done"
        seconds = (time.perf_counter() - self.began) * (1 - share) / (share - since)
        return f", {share:.0%} done, about {clock_text(seconds)} left"


class FitProgressBars(ProgressBars):
    """One bar over all steps, and a line per epoch where there is no terminal."""

    def step(self, progress: Step) -> None:
        per_epoch = -(-progress.total // progress.batch)
        epochs, epoch = progress.steps // per_epoch, -(-progress.step // per_epoch)
        words = f"{progress.attack}: epoch {epoch} of at most {epochs}"
        self.show(words + self.left(progress.step / progress.steps), progress.step, progress.steps)
        if not self.live and progress.step % per_epoch == 0:
            say(words)


class TrainingProgressBars(ProgressBars):
    """One bar over all updates, and a line per epoch."""

    def __init__(self, resumed: bool) -> None:
        super().__init__()
        self.reported: int | None = None if resumed else 0
        self.paced: tuple[float, int] | None = None
        self.epochs = 0

    def reading(self, done: int, total: int) -> None:
        """Show how many images have been read, before the training."""
        self.show("reading the images", done, total)

    def step(self, progress: TrainingProgress) -> None:
        """After each update; the last epoch's line comes when the next begins."""
        now = time.perf_counter()
        if self.paced is None:
            self.paced = now, progress.update
        if self.reported is None:
            self.reported = len(progress.log)
            say(f"taken up again after {progress.update - 1} of {progress.updates} updates")
        self.epochs = progress.epochs
        since, first = self.paced
        done = progress.update - first
        left = (now - since) / done * (progress.updates - progress.update) if done else None
        self.report_epochs(progress.log, left)
        remaining = "" if left is None else f", {clock_text(left)} left"
        self.show(f"epoch {progress.epoch} of {progress.epochs}{remaining}", progress.update, progress.updates)

    def report_epochs(self, log: Sequence[Epoch], left: float | None = None) -> None:
        """A line for each epoch that had none yet."""
        for epoch in log[self.reported or 0 :] if self.reported is not None else ():
            shares = {"clean": epoch.clean, "single step": epoch.single_step, "robust": epoch.robust}
            message = "".join(f", {name} {value:.1%}" for name, value in shares.items() if not math.isnan(value))
            message += "" if epoch.certified is None else f", certified {epoch.certified:.1%}"
            message += "" if epoch.acr is None else f", average certified radius {epoch.acr:.3f}"
            remaining = "" if left is None else f", {clock_text(left)} left"
            of = f" of {self.epochs}" if self.epochs else ""
            self.line(f"epoch {epoch.epoch}{of}: loss {epoch.loss:.4f}{message}{remaining}")
            if epoch.note:
                self.line(epoch.note, "yellow")
        self.reported = len(log)

    def line(self, words: str, style: str = "") -> None:
        """Print a line above the bar."""
        if self.live:
            self.bars.console.print(printable(words), style=style)
        else:
            say(words, style)


def clock_text(seconds: float) -> str:
    """Return a duration, rounded to seconds, as 1:02:03."""
    return str(timedelta(seconds=round(seconds)))


class AuditProgressBars(ProgressBars, AuditObserver):
    """Two bars: images done, and the attack under way."""

    def __init__(self) -> None:
        super().__init__()
        self.images: TaskID | None = None
        self.total: int | None = None
        self.started: AttackStarted | None = None
        self.bounds = ""  # what works on certificates
        self.safe = 0  # images that were recorded when the run was taken up again

    def _images(self, words: str, done: int, total: int | None) -> None:
        if self.images is None:
            self.images = self.bars.add_task(words)
        self.bars.update(self.images, description=words, completed=done, total=total)

    def checking_data(self, counts: CleanCounts) -> None:
        self._images("looking at the clean images", counts.seen, counts.total)
        self.status(f"looking at the clean images: {counts.seen}{of_total(counts.total)}")

    def comparing_data(self, seen: int, total: int) -> None:
        self._images("comparing the data with those that the run began with", seen, total)
        self.status(f"comparing the data: {seen}{of_total(total)}")

    def checked_data(self, counts: CleanCounts) -> None:
        self.total = counts.seen
        if counts.labelled:
            say(f"clean accuracy {share_text(share(counts.correct, counts.labelled))}")
        without = counts.seen - counts.labelled
        if without:
            say(
                f"{without} of {counts.seen} images have no label: the model's own clean prediction stands in, so that "
                "robust accuracy is agreement with it"
            )

    def probing(self) -> None:
        say("trying on a few images whether attacks on this model can be believed")
        self.started = None

    def report_message(self, words: str) -> None:
        say(words, "yellow")

    def resumed(self, chunks: int, samples: int) -> None:
        say(f"taken up again after {samples} images in {chunks} chunks")
        self.safe = samples

    def attacks_begin(self) -> None:
        self.began = time.perf_counter()  # probes and clean predictions are no measure of the pace of attacks
        self.status(f"attacking; {self.safe}{of_total(self.total)} images are recorded")

    def attacking(self, started: AttackStarted) -> None:
        self.started = started
        self.show(self._words(started.rows, 0.0), 0, 1)

    def step(self, progress: Step) -> None:
        words = f"probe {progress.attack}: {progress.live} images in play"
        if self.started is not None:
            words = self._words(progress.live, progress.step / progress.steps)
        self.show(printable(words), progress.step, progress.steps)

    def _words(self, live: int, share: float) -> str:
        """Threat, attack, images that stand, and how far the whole audit is."""
        started = self.started
        assert started is not None
        words = f"{started.threat}: {started.attack}, {live} of {started.count} images stand"
        if not self.total:
            return words
        within = started.done + share * started.share
        return words + self.left((started.first + within * started.count) / self.total, self.safe / self.total)

    def recorded(self, done: ChunkRecorded) -> None:
        self._images("audited", done.seen, done.total)
        standing = ", ".join(f"{threat}: {left}" for threat, left in done.standing.items())
        self.total = self.total or done.total
        if not self.live:
            recorded = f"{done.seen}{of_total(done.total)} images, {done.seconds:.1f} s"
            say(f"{recorded}; of these {done.count} still stand {standing}")
        self.status(lambda: self._recorded(done))

    def _recorded(self, done: ChunkRecorded) -> str:
        left = self.left(done.seen / self.total, self.safe / self.total) if self.total else ""
        return f"attacking; {done.seen}{of_total(done.total)} images are recorded{left}"

    def certifying(self, images: int, timeout: float) -> None:
        self.began, self.bounds = time.perf_counter(), "branch and bound" if timeout else "bounds"
        if images:
            limit = f", {timeout:g} s at most for each at each radius" if timeout else ""
            say(f"{self.bounds} for {images} image{'' if images == 1 else 's'} that withstood the attacks{limit}")
        self.status(f"{self.bounds}: 0{of_total(images)} images")

    def certified(self, done: CertificatesRecorded) -> None:
        found = f"proven {done.proven}, broken {done.broken}, open {done.open}"
        words = f"{self.bounds}: {done.done} of {done.total} images{self.left(done.done / done.total)}"
        self._images(words, done.done, done.total)
        if not self.live:
            say(f"{self.bounds}: {done.done} of {done.total} images; the last: {found}")
        self.status(words)

    def publishing(self) -> None:
        self.status("making the report")


def of_total(total: int | None) -> str:
    """` of 40`, or nothing where the number is not known."""
    return f" of {total}" if total else ""
