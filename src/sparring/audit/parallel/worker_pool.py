"""Several workers at once, and their answers in the order of the chunks.

This process reads the data and keeps the records; a worker has one chunk at a time. Records are those of one worker:
an image's draws are keyed by its place in the data, chunks are the same whoever attacks them, and they are written
down in their order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from ...errors import RunError
from ...zoo import Chunk
from ..observer import Watch
from .chunk_worker import Attacked, Failed, Hands
from .workers import Workers

AHEAD = 2  # chunks per worker that are under way, or wait for an earlier one
AGAIN = 2  # how often a chunk goes to another worker after one died with it
Numbered = Iterable[tuple[int, Chunk]]


class Crew(Protocol):
    """Workers that have their hands, or get them when the first chunk is given out."""

    def warm(self) -> None:
        """Let them start while something else is done."""

    def give(self, number: int, chunk: Chunk) -> None:
        """A chunk for whoever is free first."""

    def take(self) -> Attacked | Failed:
        """Wait for any answer."""

    def close(self) -> None:
        """End them, also in the middle of a chunk."""


def crew_of(workers: Workers, hands: Hands, watch: Watch) -> Crew | None:
    """The crew; None where there is none but this process."""
    if workers.alone:
        return None
    if workers.ray:
        from .ray_pool import OnRay

        return OnRay(workers, hands)
    from .process_pool import Processes

    return Processes(workers, hands, watch)


def by_one(hands: Hands, chunks: Numbered, watch: Watch) -> Iterator[Attacked]:
    """The chunks, attacked here."""
    for number, chunk in chunks:
        yield hands.attack(number, chunk, watch)


def by_many(crew: Crew, size: int, chunks: Numbered) -> Iterator[Attacked]:
    """The chunks, attacked by the crew, in the order given; what a worker raised is raised when its chunk's turn comes.

    No more than AHEAD chunks per worker are in memory.
    """
    turn: list[int] = []
    there: dict[int, Attacked | Failed] = {}
    for number, chunk in chunks:
        crew.give(number, chunk)
        turn.append(number)
        while len(turn) >= AHEAD * size:
            yield awaited(crew, turn.pop(0), there)
    while turn:
        yield awaited(crew, turn.pop(0), there)


def awaited(crew: Crew, number: int, there: dict[int, Attacked | Failed]) -> Attacked:
    """The answer to one chunk; others that come before it are laid aside."""
    while number not in there:
        answer = crew.take()
        if answer.number is None:
            assert isinstance(answer, Failed)
            raise answer.error
        there[answer.number] = answer
    answer = there.pop(number)
    if isinstance(answer, Failed):
        raise answer.error
    return answer


def given_up(number: int, how: str) -> RunError:
    """The error of a chunk that no worker survives."""
    return RunError(
        f"{AGAIN + 1} workers died on chunk {number}, the last one {how}; where memory ran out, take fewer workers. "
        "Every chunk recorded before is safe: repeat the command with --resume"
    )
