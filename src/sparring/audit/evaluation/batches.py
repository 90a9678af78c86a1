"""The data of an audit: the zoo's Data, or any iterable of batches that can be read twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from ...errors import InputError, user_code
from ...goals import Goal
from ...rows import take
from ...zoo import Chunk, Data, Skipped

LARGEST, VALUES = 128, 2_000_000  # images per batch at most, and numbers per batch that a small machine can take
GIVEN = "labels: those of the batches"
GOALS = "goals: those of the batches"
NONE = "no labels: the model's own prediction on the clean picture stands in"


class DataSource(Protocol):
    """A data set that can be streamed again and again, in the same order."""

    name: str
    label_note: str
    skipped: list[Skipped]

    @property
    def candidates(self) -> int | None:
        """How many images there are at most, if that is known."""

    def chunks(self, batch_size: int) -> Iterator[Chunk]:
        """Batches of at most `batch_size` images."""


class Batch(NamedTuple):
    """One batch as a caller gave it, taken apart and checked."""

    images: Tensor  # inputs of any kind
    labels: Tensor | None  # (B,) int64
    goal: Goal | None
    context: Any


class Batches:
    """An iterable of batches as a Source: a list, a DataLoader without shuffling.

    A batch is images alone, (images, labels), (inputs, goal) for a task other than classification, or either with a
    context as its third part.
    """

    def __init__(self, batches: Iterable[Any], name: str) -> None:
        if isinstance(batches, Iterator):
            raise InputError(
                f"the data is a {type(batches).__name__}, which can be read only once, and an audit reads it twice; "
                "pass a list of batches or a DataLoader"
            )
        if isinstance(batches, Tensor | np.ndarray) or not isinstance(batches, Iterable):
            raise InputError(
                f"the data is a {type(batches).__name__}; pass batches, as [(images, labels)], or a DataLoader"
            )
        self.batches, self.name, self.label_note = batches, name, GIVEN
        self.skipped: list[Skipped] = []

    @property
    def candidates(self) -> int | None:
        """Of a list the images in it, of a DataLoader those of its data set; None where only reading tells."""
        if isinstance(self.batches, list | tuple):
            return sum(len(read_batch(batch, f"batch {number}").images) for number, batch in enumerate(self.batches))
        there = getattr(self.batches, "dataset", None)
        return len(there) if isinstance(there, Sized) else None

    def chunks(self, batch_size: int) -> Iterator[Chunk]:
        first = 0
        for number, given in enumerate(read_batches(self.batches, self.name)):
            batch = read_batch(given, f"batch {number}")
            if batch.goal is not None:
                self.label_note = GOALS
            elif batch.labels is None:
                self.label_note = NONE
            for start in range(0, len(batch.images), batch_size):
                part = slice(start, min(start + batch_size, len(batch.images)))
                names = [str(first + i) for i in range(part.stop - part.start)]
                yield Chunk(batch.images[part], names=names, first=first, **rows_of(batch, part))
                first += len(names)


def read_batches(batches: Iterable[Any], name: str) -> Iterator[Any]:
    """Yield what an iterable of the user's yields; UserCodeError where it raises or exits."""
    told = f"the data ({name})"
    with user_code(told):
        left = iter(batches)
    while True:
        with user_code(told):
            try:
                given = next(left)
            except StopIteration:
                return
        yield given


def rows_of(batch: Batch | Chunk, rows: slice) -> dict[str, Any]:
    """Return labels, goal and context of some rows, by name."""
    return {name: take(getattr(batch, name), rows) for name in ("labels", "goal", "context")}


def read_batch(given: Any, name: str) -> Batch:
    """Take one batch apart; InputError where it is none."""
    parts = given if isinstance(given, tuple | list) and len(given) in (2, 3) else (given,)
    images, truth, context = (*parts, None, None)[:3]
    images = torch.as_tensor(images) if isinstance(images, Tensor | np.ndarray) else images
    if not isinstance(images, Tensor):
        raise InputError(
            f"{name} is a {type(given).__name__}; a batch is (images, labels), images alone, or (inputs, goal)"
        )
    if truth is None or isinstance(truth, Goal):
        return Batch(images, None, truth, context)
    labels = torch.as_tensor(truth)
    if labels.ndim != 1 or len(labels) != len(images):
        raise InputError(
            f"{name} has {len(images)} images and labels of shape {tuple(labels.shape)}; one label per image"
        )
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise InputError(f"{name} has labels of type {labels.dtype}; pass integers, the class of each image")
    return Batch(images, labels.long(), None, context)


def limit_chunks(source: DataSource, batch_size: int, limit: int | None) -> Iterator[Chunk]:
    """Yield the source's chunks, up to `limit` images."""
    left = limit
    for chunk in source.chunks(batch_size):
        if left is None or len(chunk.images) <= left:
            yield chunk
        else:
            part = slice(0, left)
            yield Chunk(chunk.images[part], names=chunk.names[part], first=chunk.first, **rows_of(chunk, part))
        if left is not None:
            left -= len(chunk.images)
            if left <= 0:
                return


def fitting_batch_size(source: DataSource) -> int:
    """Return a batch size for images as large as the source's first."""
    for chunk in source.chunks(1):
        return max(8, min(LARGEST, VALUES // max(1, chunk.images[:1].numel())))
    return LARGEST


def as_data_source(data: Any, name: str | None = None) -> DataSource:
    """Data and batches as they are, anything else as batches."""
    return data if isinstance(data, Data | Batches) else Batches(data, name or type(data).__name__)
