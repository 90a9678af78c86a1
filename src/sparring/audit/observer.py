"""`AuditObserver`: the callbacks that report the progress of an audit, and the records they receive."""

from __future__ import annotations

from dataclasses import dataclass

from ..engine import Progress


@dataclass(frozen=True)
class CleanCounts:
    """Counts of images so far."""

    seen: int = 0
    labelled: int = 0
    correct: int = 0  # among the labelled
    total: int | None = None  # how many there are, where the data set knows


@dataclass(frozen=True)
class ChunkRecorded:
    """A chunk that is recorded."""

    number: int
    seen: int
    total: int | None
    standing: dict[str, int]  # "Linf 4/255" -> how many of the chunk's images still stand
    count: int
    seconds: float


@dataclass(frozen=True)
class AttackStarted:
    """An attack on the images of a chunk that still stand."""

    threat: str  # "Linf 4/255", or the norm alone where the smallest examples are searched
    attack: str
    rows: int  # images under attack
    first: int  # position of the chunk's first image in the data
    count: int  # images of the chunk
    done: float  # share of the chunk's steps that lie before this attack
    share: float  # share of them that this attack has


class AuditObserver:
    """Is told what happens in an audit; every method may be left as it is."""

    def checking_data(self, tally: CleanCounts) -> None:
        """While the clean images are checked, before the first attack."""

    def checked_data(self, tally: CleanCounts) -> None:
        """After it."""

    def probing(self) -> None:
        """Before the measurements on a small sample."""

    def report_message(self, message: str) -> None:
        """Report something that went wrong and was put right, as a worker that died."""

    def resumed(self, chunks: int, samples: int) -> None:
        """A run is taken up again after that many chunks."""

    def attacks_begin(self) -> None:
        """Before the first chunk is attacked, here or by other processes."""

    def attacking(self, started: AttackStarted) -> None:
        """Before each attack on a chunk; not called where other processes attack."""

    def step(self, progress: Progress) -> None:
        """After every step of an attack, of one that probes too."""

    def recorded(self, done: ChunkRecorded) -> None:
        """A chunk is safe on the disk."""

    def publishing(self) -> None:
        """Before the report is made."""
