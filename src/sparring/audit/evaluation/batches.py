"""What a caller may hand over as data: the zoo's Data, or any iterable of batches that can be read twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ...errors import InputError
from ...zoo import Chunk, Data, Skipped

LARGEST, VALUES = 128, 2_000_000  # images per batch at most, and numbers per batch that a small machine can take
GIVEN = "labels: those of the batches"
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


class Batches:
    """An iterable of (images, labels) or of images, as a Source: a list, a DataLoader without shuffling."""

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
            return sum(len(images_and_labels(batch, f"batch {number}")[0]) for number, batch in enumerate(self.batches))
        there = getattr(self.batches, "dataset", None)
        return len(there) if isinstance(there, Sized) else None

    def chunks(self, batch_size: int) -> Iterator[Chunk]:
        first = 0
        for number, batch in enumerate(self.batches):
            images, labels = images_and_labels(batch, f"batch {number}")
            if labels is None:
                self.label_note = NONE
            for start in range(0, len(images), batch_size):
                part = slice(start, min(start + batch_size, len(images)))
                names = [str(first + i) for i in range(part.stop - part.start)]
                yield Chunk(images[part], None if labels is None else labels[part], names, first)
                first += len(names)


def images_and_labels(batch: Any, name: str) -> tuple[Tensor, Tensor | None]:
    """Return images and labels of one batch; InputError where it is neither."""
    images, labels = batch if isinstance(batch, tuple | list) and len(batch) == 2 else (batch, None)
    images = torch.as_tensor(images) if isinstance(images, Tensor | np.ndarray) else images
    if not isinstance(images, Tensor):
        raise InputError(f"{name} is a {type(batch).__name__}; a batch is (images, labels), or images alone")
    if labels is None:
        return images, None
    labels = torch.as_tensor(labels)
    if labels.ndim != 1 or len(labels) != len(images):
        raise InputError(
            f"{name} has {len(images)} images and labels of shape {tuple(labels.shape)}; one label per image"
        )
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise InputError(f"{name} has labels of type {labels.dtype}; pass integers, the class of each image")
    return images, labels.long()


def limit_chunks(source: DataSource, batch_size: int, limit: int | None) -> Iterator[Chunk]:
    """Yield the source's chunks, up to `limit` images."""
    left = limit
    for chunk in source.chunks(batch_size):
        if left is None or len(chunk.images) <= left:
            yield chunk
        else:
            labels = None if chunk.labels is None else chunk.labels[:left]
            yield Chunk(chunk.images[:left], labels, chunk.names[:left], chunk.first)
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
    """Data as it is, anything else as batches."""
    return data if isinstance(data, Data) else Batches(data, name or type(data).__name__)
