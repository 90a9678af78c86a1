"""`Data`: a data set as a stream of chunks, read while it is used, so memory does not grow with its size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from ..errors import InputError
from ..goals import Goal
from ..text import storable
from .loaded import InputSpec

READ_AT_ONCE = 256
OWN_PREDICTION = "no labels: the model's own prediction on the clean picture stands in"


@dataclass(frozen=True)
class DataRequest:
    """What a model needs of a data set (None: not known), how many pictures are taken at most, and how they are read.

    `scale` is the value of white in arrays and in pictures of more than 8 bits, `label_file` a table of file names and
    labels.
    """

    input: InputSpec | None = None
    class_names: tuple[str, ...] | None = None
    classes: int | None = None
    limit: int | None = None
    scale: float | None = None
    label_file: Path | None = None


@dataclass(frozen=True)
class Row:
    """A picture (C, H, W) in [0, 1] with its label; None where the data set has none for it."""

    image: Tensor
    label: int | None
    name: str


@dataclass(frozen=True)
class Skipped:
    """A picture that could not be read, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows as one batch, all with a label or all without.

    `labels` is None where the data set knows none: the caller takes the model's own prediction. `first` is
    the position of the first row among the rows that could be read. For a task other than classification a goal with
    one row per input stands in place of labels; `context` is what lies beside the inputs.
    """

    images: Tensor
    labels: Tensor | None
    names: list[str]
    first: int
    goal: Goal | None = None
    context: Any = None


@runtime_checkable
class DataSource(Protocol):
    """A data set that can be streamed again and again, in the same order.

    It may have an attribute `reference`, a dict of plain values and tensors that lie beside its rows: an audit records
    it, and the task's section of the report is made with it.
    """

    name: str
    label_note: str
    skipped: list[Skipped]

    @property
    def candidates(self) -> int | None:
        """How many images there are at most, if that is known."""

    def chunks(self, batch_size: int) -> Iterator[Chunk]:
        """Batches of at most `batch_size` images."""


@dataclass
class Data:
    """A data set: pictures and labels, read as they are needed.

    `labelled`: every row has a label; `label_note` says in words where the labels come from. `rows` starts a
    new pass; `candidates` counts the unreadable ones too. `skipped` is filled by each pass of `chunks`. `at` reads
    the candidate at a position by itself, where that is cheap and holding all of them would not be.
    """

    name: str
    labelled: bool
    label_note: str
    class_names: tuple[str, ...] | None
    candidates: int
    rows: Callable[[], Iterable[Row | Skipped]]
    skipped: list[Skipped] = field(default_factory=list)
    at: Callable[[int], Row | Skipped] | None = None

    def __post_init__(self) -> None:
        self.name, self.label_note = storable(self.name), storable(self.label_note)
        self.class_names = storable(self.class_names)

    def __len__(self) -> int:
        return self.candidates

    def tensors(self) -> tuple[Tensor, Tensor | None]:
        """Return all images (N, C, H, W) and their labels (N,), None unless every image has one.

        Raises: InputError where no image can be read, or shapes differ.
        """
        chunks = list(self.chunks(READ_AT_ONCE))
        labels = [chunk.labels for chunk in chunks if chunk.labels is not None]
        known = torch.cat(labels) if len(labels) == len(chunks) else None
        return torch.cat([chunk.images for chunk in chunks]), known

    def chunks(self, batch_size: int) -> Iterator[Chunk]:
        """Yield batches of at most `batch_size` rows; InputError where no row can be read, or shapes differ."""
        self.skipped.clear()
        waiting: list[Row] = []
        first, shape = 0, None
        for row in self.rows():
            if isinstance(row, Skipped):
                self.skipped.append(Skipped(storable(row.name), storable(row.reason)))
                continue
            shape = shape or row.image.shape
            self._same_shape(row, shape)
            if waiting and (len(waiting) >= batch_size or (waiting[0].label is None) != (row.label is None)):
                yield stack_rows(waiting, first)
                first, waiting = first + len(waiting), []
            waiting.append(row)
        if waiting:
            yield stack_rows(waiting, first)
        elif first == 0:
            shown = "; ".join(f"{skip.name}: {skip.reason}" for skip in self.skipped[:3])
            raise InputError(f"{self.name}: none of {self.candidates} pictures can be used ({shown})")

    def _same_shape(self, row: Row, shape: torch.Size) -> None:
        if row.image.shape != shape:
            raise InputError(
                f"{self.name}: {storable(row.name)} has shape {tuple(row.image.shape)} where those before it have "
                f"{tuple(shape)}; make them one size, or let the model's factory return a "
                "sparring.zoo.LoadedModel with input=InputSpec(channels, height, width), to have them resized"
            )


def stack_rows(rows: list[Row], first: int) -> Chunk:
    """Return the rows as one chunk; `first` is the position of the first one."""
    labels = [row.label for row in rows if row.label is not None]
    return Chunk(
        images=torch.stack([row.image for row in rows]),
        labels=torch.tensor(labels) if labels else None,
        names=[storable(row.name) for row in rows],
        first=first,
    )
