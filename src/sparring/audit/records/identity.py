"""What decides the numbers of a run beside its plan: the models and the data. A run is resumed with the same only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from ...engine import fingerprint
from ...engine.answers import Answers
from ...targets import Target
from ...zoo import Chunk, DataSource
from ..evaluation.batches import limit_chunks
from ..evaluation.weights import image_hash
from ..plan import AuditPlan
from .rows import goal_hashes


class Part(NamedTuple):
    """A chunk of the data as a source gave it: its first row, number of rows, SHA-256 of all that counts."""

    first: int
    rows: int
    sha256: str


@dataclass(frozen=True)
class ModelIdentity:
    """The audited model and its surrogate.

    Args:
        sha256: over weights, preprocessing, access and defences of both.
        device: the kind of device that answered.
        answers: of the audited model on the first inputs; empty where they tell nothing.
    """

    sha256: str
    device: str
    answers: Answers

    @classmethod
    def make(cls, target: Target[Any], surrogate: Target[Any] | None, answers: Answers) -> ModelIdentity:
        """Make the identity of a target and its surrogate; `answers` are the target's."""
        other = () if surrogate is None else surrogate.identity()
        return cls(fingerprint(target.identity(), other), target.device.type, answers)


def part_of(chunk: Chunk, plan: AuditPlan) -> Part:
    """Return a chunk's position, size and hash: of images, goals and contexts, and of labels where they are used."""
    goals = goal_hashes(chunk.goal, chunk.context, len(chunk.images))
    labels = "" if chunk.labels is None or plan.labels != "data" else chunk.labels.tolist()
    digest = hashlib.sha256(f"{labels} ".encode())
    for row, image in enumerate(chunk.images):
        digest.update(f"{image_hash(image)} {goals[row]} ".encode())
    return Part(chunk.first, len(chunk.images), digest.hexdigest())


def read_parts(source: DataSource, plan: AuditPlan) -> Iterator[tuple[Chunk, Part]]:
    """Yield the chunks that the plan takes, each with its hash."""
    for chunk in limit_chunks(source, plan.batch_size, plan.limit):
        yield chunk, part_of(chunk, plan)
