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
    standing: dict[str, int]  # "Linf 4/255" -> how many of the chunk's images are not broken
    count: int
    seconds: float


@dataclass(frozen=True)
class AttackStarted:
    """An attack on the images of a chunk that are not broken yet."""

    threat: str  # "Linf 4/255", or the norm alone where the smallest examples are searched
    attack: str
    rows: int  # images under attack
    first: int  # position of the chunk's first image in the data
    count: int  # images of the chunk
    done: float  # share of the chunk's steps that lie before this attack
    share: float  # share of them that this attack has


@dataclass(frozen=True)
class CertificatesRecorded:
    """Certificates of some images, which are recorded; the counts are of images and radii."""

    done: int  # images so far, of this pass
    total: int
    proven: int
    broken: int
    open: int


class AuditObserver:
    """Receives the progress of an audit; subclasses override the methods that they need."""

    def checking_data(self, tally: CleanCounts) -> None:
        """Called while the clean images are checked, before the first attack."""

    def checked_data(self, tally: CleanCounts) -> None:
        """Called after the clean images have been checked."""

    def comparing_data(self, seen: int, total: int) -> None:
        """Called while the data of a run that is resumed are compared with those that it began with."""

    def probing(self) -> None:
        """Called before the probes."""

    def report_message(self, message: str) -> None:
        """Report something that went wrong and was put right, as a worker that died."""

    def resumed(self, chunks: int, samples: int) -> None:
        """Called when a run is resumed after that many chunks."""

    def attacks_begin(self) -> None:
        """Called before the first chunk is attacked, here or by other processes."""

    def attacking(self, started: AttackStarted) -> None:
        """Called before each attack on a chunk; not called where other processes attack."""

    def step(self, progress: Progress) -> None:
        """Called after every step of an attack, including those of probes."""

    def recorded(self, done: ChunkRecorded) -> None:
        """Called after a chunk has been written to the disk."""

    def certifying(self, images: int, timeout: float) -> None:
        """Called before bounds (`timeout` 0), and before branch and bound of so many seconds, for that many images."""

    def certified(self, done: CertificatesRecorded) -> None:
        """Called after certificates have been written to the disk."""

    def publishing(self) -> None:
        """Called before the report is made."""
