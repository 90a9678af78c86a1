"""The images of a training: held in memory as bytes, or read by position where the data set can."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ...errors import InputError, SparringError
from ...hashing import image_sha256
from ...targets import Classifier
from ...zoo import Data, Row, Skipped, load_data
from ...zoo.labels import class_labels
from .dataset import IndexedData, InMemoryData, StreamedData, as_bytes, as_floats

ROWS = 64  # held as floats at a time
CURE = "training needs a label for every image: use folder:DIR with a folder per class, or npz:FILE with labels"
ReadResult = Row | Skipped | SparringError
ReadProgress = Callable[[int, int], None]  # images read, of how many


def as_indexed_data(data: Any, classifier: Classifier, workers: int = 0) -> IndexedData:
    """Return the images of a training: of a data set with `len` and `[i]` read as training goes on, else in memory.

    Args:
        data: IndexedData, a data set, (images, labels), or whatever else `load_data` takes.
        classifier: what is trained; it may say how many classes there are.

    Raises: InputError for what is no labelled images.
    """
    if isinstance(data, IndexedData):
        return data
    pair = isinstance(data, tuple) and len(data) == 2
    if pair and isinstance(data[0], Tensor) and data[0].ndim == 4:
        labels = class_labels("(images, labels)", data[1], len(data[0]), classifier.classes)
        if labels is None:
            raise InputError(f"every label is None; {CURE}")
        return InMemoryData(data[0], torch.from_numpy(labels))
    plain = isinstance(data, list | tuple | str | dict | Data | DataLoader | Tensor | np.ndarray)
    if not plain and hasattr(data, "__len__") and hasattr(data, "__getitem__"):
        return StreamedData(data, workers, classifier.classes)
    return load_training_data(load_data(data, classifier), workers, lambda count, total: None)[0]


def load_training_data(data: Data, workers: int, progress: ReadProgress) -> tuple[IndexedData, Tensor]:
    """Return the images that can be read, and their labels (N,) int64. What cannot be read is in `data.skipped`.

    Data that is read by position is looked through once, every picture: what is broken is found out before the
    training and not in the middle of it.

    Raises: InputError where a label is missing, shapes differ or no image can be read.
    """
    if not data.labelled:
        raise InputError(f"{data.name} has no labels; {CURE}")
    if data.at is None:
        held = read_into_memory(data, progress)
        return held, held.labels
    lazy = check_readable(data, workers, progress)
    return StreamedData(lazy, workers), torch.tensor(lazy.labels)


def read_into_memory(data: Data, progress: ReadProgress) -> InMemoryData:
    """Return every image as bytes; as floats from the first chunk on that bytes cannot hold."""
    pixels, labels, count = torch.empty(0), torch.empty(len(data), dtype=torch.int64), 0
    for chunk in data.chunks(ROWS):
        if chunk.labels is None:
            raise InputError(f"{data.name}: {chunk.names[0]} has no label; {CURE}")
        part = as_bytes(chunk.images)
        if not count:
            pixels = torch.empty((len(data), *part.shape[1:]), dtype=part.dtype)
        if part.is_floating_point() and not pixels.is_floating_point():
            pixels = as_floats(pixels)
        end = count + len(part)
        pixels[count:end] = part if part.dtype == pixels.dtype else as_floats(part)
        labels[count:end] = chunk.labels
        count = end
        progress(count, len(data))
    return InMemoryData(pixels[:count], labels[:count])


@dataclass(frozen=True)
class ReadableImages:
    """The readable pictures of a data set, with `len` and `[i] -> (image, label)`."""

    name: str
    at: Callable[[int], Row | Skipped]
    places: list[int]
    labels: list[int]
    sha256: str  # over all pictures and labels

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        row = self.at(self.places[place])
        if isinstance(row, Skipped):
            raise InputError(f"{self.name}: {row.name} could be read before, and now it cannot: {row.reason}")
        return row.image, self.labels[place]

    def identity(self) -> str:
        """Return the hash of the pictures and labels as they were when all were read."""
        return self.sha256


@dataclass(frozen=True)
class ImageChecks:
    """A data set whose items are what was read of each picture, with the shape and hash of its pixels for them."""

    at: Callable[[int], Row | Skipped]
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, place: int) -> tuple[ReadResult, tuple[int, ...], str]:
        try:
            row = self.at(place)
        except SparringError as error:  # raised here, it would reach the user wrapped in a traceback
            return error, (), ""
        if isinstance(row, Skipped):
            return row, (), ""
        return Row(torch.empty(0), row.label, row.name), tuple(row.image.shape), image_sha256(row.image)


def check_readable(data: Data, workers: int, progress: ReadProgress) -> ReadableImages:
    """Return every picture read once."""
    assert data.at is not None
    places, labels, shapes = list[int](), list[int](), list[tuple[int, ...]]()
    checks: Any = ImageChecks(data.at, len(data))
    data.skipped.clear()
    answers = DataLoader(checks, batch_size=None, num_workers=workers, collate_fn=keep_item)
    digest = hashlib.sha256()
    for place, (answer, shape, pixels) in enumerate(answers):
        if isinstance(answer, SparringError):
            raise answer
        if isinstance(answer, Skipped):
            data.skipped.append(answer)
        else:
            if answer.label is None:
                raise InputError(f"{data.name}: {answer.name} has no label; {CURE}")
            if shapes and shape != shapes[0]:
                raise InputError(
                    f"{data.name}: {answer.name} has shape {shape} where those before it have {shapes[0]}; make them "
                    "one size, or let the model's factory return a sparring.zoo.LoadedModel with its input's size"
                )
            shapes = shapes or [shape]
            places.append(place)
            labels.append(answer.label)
            digest.update(f"{pixels} {answer.label} ".encode())
        progress(place + 1, len(data))
    if not places:
        first = data.skipped[0]
        raise InputError(f"{data.name}: none of {len(data)} pictures can be used ({first.name}: {first.reason})")
    return ReadableImages(data.name, data.at, places, labels, digest.hexdigest())


def keep_item(item: Any) -> Any:
    """Return the item as it is: the collate function of a loader without batches."""
    return item
