"""Where somebody may look over the shoulder of an audit."""

from __future__ import annotations

from dataclasses import dataclass

from ..engine import Progress


@dataclass(frozen=True)
class Tally:
    """Counts of images so far."""

    seen: int = 0
    labelled: int = 0
    correct: int = 0  # among the labelled
    total: int | None = None  # how many there are, where the data set knows


@dataclass(frozen=True)
class ChunkDone:
    """A chunk that is recorded."""

    number: int
    seen: int
    total: int | None
    standing: dict[str, int]  # "Linf 4/255" -> how many of the chunk's images still stand
    count: int
    seconds: float


class Watch:
    """Told what happens; every method may be left as it is."""

    def looking(self, tally: Tally) -> None:
        """During the look at the clean images, before the first attack."""

    def looked(self, tally: Tally) -> None:
        """After it."""

    def probing(self) -> None:
        """Before the measurements on a small sample."""

    def told(self, words: str) -> None:
        """Something that went wrong and was put right, as a worker that died."""

    def resumed(self, chunks: int, samples: int) -> None:
        """A run is taken up again after that many chunks."""

    def step(self, progress: Progress) -> None:
        """After every step of an attack."""

    def recorded(self, done: ChunkDone) -> None:
        """A chunk is safe on the disk."""
