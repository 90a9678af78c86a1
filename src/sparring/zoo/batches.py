"""Batches as data: a DataLoader, or any other iterable of them that can be read twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError, user_code
from ..goals import Goal
from ..isolation import user_settings
from ..rows import take
from .arrays import CHANNELS, check_dense_pixels, image_batch, pixel_tensor
from .dataset import OWN_PREDICTION, Chunk, DataRequest, Skipped
from .labels import class_labels

GIVEN = "labels: those of the batches"
GOALS = "goals: those of the batches"
IMAGE_KEYS = ("images", "image", "img", "pixel_values")
LABEL_KEYS = ("labels", "label", "targets", "target")
LABEL_LIKE = ("label", "target", "class", "categor")


class Batch(NamedTuple):
    """One batch as a caller gave it, taken apart and checked."""

    images: Tensor  # inputs of any kind
    labels: Tensor | None  # (B,) int64
    goal: Goal | None
    context: Any


class Batches:
    """An iterable of batches as a data source: a list, a DataLoader without shuffling.

    A batch is images alone, (images, labels), {"image": images, "label": labels}, (inputs, goal) for a task other than
    classification, or a pair with a context as its third part.

    Args:
        wanted: what the model needs of images in [0, 1], which are brought to it; None: inputs of another kind, which
            are left as they are.
    """

    def __init__(self, batches: Iterable[Any], name: str, wanted: DataRequest | None = None) -> None:
        if isinstance(batches, Iterator):
            raise InputError(
                f"the data is a {type(batches).__name__}, which can be read only once, and an audit reads it twice; "
                "pass a list of batches or a DataLoader"
            )
        if isinstance(batches, Tensor | np.ndarray | str | bytes) or not isinstance(batches, Iterable):
            raise InputError(
                f"the data is a {type(batches).__name__}; pass batches, as [(images, labels)], or a DataLoader"
            )
        self.batches, self.name, self.label_note, self.wanted = batches, name, GIVEN, wanted
        self.class_names = None if wanted is None else wanted.class_names
        self.skipped: list[Skipped] = []
        self.reference = getattr(batches, "reference", None)  # what lies beside the rows, for the report

    @property
    def candidates(self) -> int | None:
        """Of a list the images in it, of a DataLoader those that it gives; None where only reading tells."""
        if isinstance(self.batches, list | tuple):
            return sum(len(batch_parts(batch, f"batch {number}")[0]) for number, batch in enumerate(self.batches))
        parts = [getattr(self.batches, part, None) for part in ("sampler", "dataset")]
        counted = next((part for part in parts if hasattr(part, "__len__")), None)
        if counted is None:
            return None
        with user_code(f"len() of the data of {self.name}"):
            return len(counted)

    def chunks(self, batch_size: int) -> Iterator[Chunk]:
        """Yield parts of at most `batch_size` rows of each batch."""
        first = 0
        for number, given in enumerate(self._read()):
            batch = read_batch(given, f"batch {number}", self.wanted, first)
            if batch.goal is not None:
                self.label_note = GOALS
            elif batch.labels is None:
                self.label_note = OWN_PREDICTION
            for start in range(0, len(batch.images), batch_size):
                part = slice(start, min(start + batch_size, len(batch.images)))
                names = [str(first + i) for i in range(part.stop - part.start)]
                yield Chunk(batch.images[part], names=names, first=first, **rows_of(batch, part))
                first += len(names)

    def _read(self) -> Iterator[Any]:
        """The batches; what reading them raises is code of the user's."""
        number, end = 0, object()
        with user_code(f"iter({self.name})"), user_settings():
            reader = iter(self.batches)
        while True:
            with user_code(f"batch {number} of {self.name}"), user_settings():
                given = next(reader, end)
            if given is end:
                return
            yield given
            number += 1


def rows_of(batch: Batch | Chunk, rows: slice) -> dict[str, Any]:
    """Return labels, goal and context of some rows, by name."""
    return {name: take(getattr(batch, name), rows) for name in ("labels", "goal", "context")}


def holds_batches(listed: Any) -> bool:
    """Tell whether it is a list or tuple of batches, and not of single images with their labels."""
    if not isinstance(listed, list | tuple) or not len(listed):
        return False
    first = listed[0]
    if isinstance(first, Mapping):
        first = next((first[key] for key in IMAGE_KEYS if key in first), None)
    if isinstance(listed, tuple) and isinstance(first, Tensor | np.ndarray):
        return False
    images = first[0] if isinstance(first, tuple | list) and len(first) else first
    if not isinstance(images, Tensor | np.ndarray):
        return False
    labels = first[1] if isinstance(first, tuple | list) and len(first) > 1 else None
    return images.ndim > 3 or (
        isinstance(labels, Tensor)
        and not labels.is_floating_point()
        and len_of(labels) > 1
        and len_of(labels) == len_of(images)
    )


def named_parts(name: str, held: Mapping[Any, Any]) -> tuple[str, str | None]:
    """Return the keys of image and label in a mapping; InputError where it is not clear which they are."""
    images, labels = ([key for key in keys if key in held] for keys in (IMAGE_KEYS, LABEL_KEYS))
    like = [key for key in held if isinstance(key, str) and any(word in key.casefold() for word in LABEL_LIKE)]
    if len(images) != 1 or len(labels) > 1 or (like and not labels):
        raise InputError(
            f"{name} has {', '.join(map(str, held)):.200}; call the images 'image' and their labels 'label' (or leave "
            "the labels out), or pass (images, labels)"
        )
    return images[0], labels[0] if labels else None


def len_of(tensor: Tensor | np.ndarray[Any, Any]) -> int:
    """Return the number of rows; 0 of a single number."""
    return int(tensor.shape[0]) if tensor.ndim else 0


def batch_parts(given: Any, name: str) -> tuple[Tensor, Any, Any]:
    """Return inputs, truth and context of one batch; InputError where it is none."""
    if isinstance(given, Mapping):
        image, label = named_parts(name, given)
        given = given[image], None if label is None else given[label]
    parts = given if isinstance(given, tuple | list) and len(given) in (1, 2, 3) else (given,)
    images, truth, context = (*parts, None, None)[:3]
    images = pixel_tensor(name, images) if isinstance(images, np.ndarray) else images
    if isinstance(images, Tensor):
        check_dense_pixels(name, images)
    if not isinstance(images, Tensor):
        raise InputError(
            f"{name} is a {type(given).__name__}; a batch is (images, labels), images alone, or (inputs, goal)"
        )
    return images, truth, context


def read_batch(given: Any, name: str, wanted: DataRequest | None = None, first: int = 0) -> Batch:
    """Take one batch apart; InputError where it is none. `first` is the number of its first image."""
    images, truth, context = batch_parts(given, name)
    if wanted is not None:
        images = batch_images(images, name, wanted)
    if truth is None or isinstance(truth, Goal):
        return Batch(images, None, truth, context)
    known = (None, None) if wanted is None else (wanted.classes, wanted.class_names)
    labels = class_labels(name, truth, len(images), *known, item=lambda row: f"image {first + row}")
    return Batch(images, None if labels is None else torch.from_numpy(labels), None, context)


def batch_images(images: Tensor, name: str, wanted: DataRequest) -> Tensor:
    """Return images as (B, C, H, W) floats in [0, 1]; those that are stay as they are, wherever they are."""
    plain = wanted.scale is None and images.dtype in (torch.float32, torch.float64)
    last = images.ndim == 4 and images.shape[1] not in CHANNELS and images.shape[3] in CHANNELS
    if (plain and images.ndim == 4 and not last) or images.ndim not in (3, 4) or not images.numel():
        return images  # what fits no model is refused where the model is known
    order = "NHW" if images.ndim == 3 else "NHWC" if last else "NCHW"
    return image_batch(name, images, order, wanted.scale, double=True)
