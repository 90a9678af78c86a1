"""Data as Python objects: arrays, (images, labels), data sets with `len` and `[i]`, and loaders or lists of batches.

Whatever `FILE.py:FACTORY` returns, and whatever is given to `load_data`, goes through here, with the rules of `labels`,
`arrays` and `pictures`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import InputError, UserCodeError, user_code
from ..isolation import user_settings
from . import arrays, pictures, python_file
from .batches import Batches, holds_batches, named_parts
from .dataset import OWN_PREDICTION, Data, DataRequest, Row
from .labels import class_labels, item_label

GIVEN = "labels: those of the data"
MOST = 10**9  # items; more are a mistake, or take longer than anybody waits
WHAT = (
    "pass (images, labels), images (N, C, H, W), a data set with len() and [i], a DataLoader or a list of batches, or "
    "a name of the command line, as 'zoo:mnist' or 'folder:DIR'"
)


def factory_data(file: Path, factory: str, wanted: DataRequest) -> Data:
    """Return what FACTORY() of a user's file returns, as Data; InputError where it is no data set."""
    return object_data(f"{file}:{factory}", python_file.call_factory(file, factory), wanted)


def object_data(name: str, given: Any, wanted: DataRequest) -> Data:
    """Return an object of Python as Data; InputError where it is no data set of images."""
    if wanted.label_file is not None:
        raise InputError(f"{name} brings its own labels; a table of labels is for folder:DIR and flat:DIR")
    if isinstance(given, Data):
        return given if wanted.limit is None else limited(given, wanted.limit)
    if _is_array(given):
        return _arrays(name, given, None, wanted)
    if _is_pair(given):
        return _arrays(name, given[0], given[1], wanted)
    if isinstance(given, Mapping):
        image, label = named_parts(name, given)
        return _arrays(name, given[image], None if label is None else given[label], wanted)
    if isinstance(given, torch.utils.data.DataLoader) or holds_batches(given):
        return _batches(name, given, wanted)
    if hasattr(given, "__getitem__") and not isinstance(given, tuple | str | bytes):
        return _dataset(name, given, wanted)
    if isinstance(given, Iterable) and not isinstance(given, Iterator | tuple | str | bytes):
        return _batches(name, given, wanted)
    once = ", which can be read only once" if isinstance(given, Iterator) else ""
    raise InputError(f"{name} is a {type(given).__name__}{once}; {WHAT}")


def limited(data: Data, limit: int) -> Data:
    """Return the first `limit` candidates of a data set."""
    at = data.at
    if at is not None:
        count = min(limit, len(data))
        return replace(data, candidates=count, rows=lambda: map(at, range(count)), skipped=[])

    def rows() -> Iterator[Any]:
        return (row for row, _ in zip(data.rows(), range(limit), strict=False))

    return replace(data, candidates=min(limit, len(data)), rows=rows, skipped=[])


def _is_array(given: object) -> bool:
    return isinstance(given, Tensor | np.ndarray)


def _is_pair(given: Any) -> bool:
    """Tell whether it is (images, labels), and no pair of items or batches."""
    if not (isinstance(given, tuple | list) and len(given) == 2 and _is_array(given[0])):
        return False
    if isinstance(given, tuple):
        return True
    labels = given[1]
    return _is_array(labels) and labels.ndim <= 2 < given[0].ndim and len(labels) == len(given[0])


def _arrays(name: str, images: Any, labels: Any, wanted: DataRequest) -> Data:
    if isinstance(images, Tensor):
        arrays.check_dense_pixels(name, images)
    elif not _is_array(images):
        images = arrays.pixel_tensor(name, images)
    order = arrays.array_layout(name, tuple(images.shape), wanted.input)
    known = wanted.classes, wanted.class_names
    checked = None if labels is None else class_labels(name, labels, len(images), *known)
    taken = images[: wanted.limit]

    def rows() -> Iterator[Row]:
        return arrays.array_rows(name, iter(taken), checked, order, wanted.scale)

    note = OWN_PREDICTION if checked is None else GIVEN
    return Data(name, checked is not None, note, wanted.class_names, len(taken), rows)


def _batches(name: str, given: Any, wanted: DataRequest) -> Data:
    """Batches as Data, image by image; their number must be known beforehand."""
    source = Batches(given, name, wanted)
    count = source.candidates if source.candidates is not None else wanted.limit
    if count is None:
        raise InputError(f"{name} does not say how many images it has; give it a length, or take so many: --limit N")
    if not count:
        raise InputError(f"{name} is an empty data set: it holds no images")
    labelled = next(source.chunks(1)).labels is not None

    def rows() -> Iterator[Row]:
        labels: list[int | None]
        for chunk in source.chunks(count):
            labels = [None] * len(chunk.names) if chunk.labels is None else chunk.labels.tolist()
            for row in zip(chunk.images, labels, chunk.names, strict=True):
                yield Row(*row)

    whole = Data(name, labelled, source.label_note, wanted.class_names, count, rows)
    return whole if wanted.limit is None else limited(whole, wanted.limit)


def _dataset(name: str, made: Any, wanted: DataRequest) -> Data:
    if isinstance(made, torch.utils.data.IterableDataset):
        raise InputError(f"{name} is an IterableDataset, which has no items by number; wrap it in a DataLoader")
    if not hasattr(made, "__len__"):
        raise InputError(f"{name} is a {type(made).__name__} without len(); say in __len__ how many images it has")
    with user_code(f"len({name})"), user_settings():
        whole = len(made)
    count = min(wanted.limit or whole, whole)
    if not count:
        raise InputError(f"{name} is an empty data set: it holds no images")
    if count > MOST:
        raise InputError(f"len({name}) is {whole}, more than can be read; take the first ones: --limit N (limit=N)")
    first = _read(name, made, 0, whole)
    _, label = _parts(f"{name}[0]", first)
    maxima = partial(_sixteen_bit_maxima, name, made, count)
    at = partial(_at, name, made, wanted, pictures.WhiteLevel(wanted.scale, maxima), whole)
    labelled = label is not None
    note = GIVEN if labelled else OWN_PREDICTION
    return Data(name, labelled, note, wanted.class_names, count, lambda: map(at, range(count)), at=at)


def _read(name: str, made: Any, place: int, whole: int) -> Any:
    """Item `place` of a data set of the user's; UserCodeError, which names it, where that raises."""
    try:
        with user_code(f"{name}[{place}]"), user_settings():
            return made[place]
    except UserCodeError as error:
        if isinstance(error.__cause__, IndexError):
            raise UserCodeError(
                f"{error}; len() says that there are {whole} items: correct it, or limit them"
            ) from error
        raise


def _at(name: str, made: Any, wanted: DataRequest, white: pictures.WhiteLevel, whole: int, place: int) -> Row:
    item = f"{name}[{place}]"
    picture, label = _parts(item, _read(name, made, place, whole))
    return Row(
        _image(item, picture, wanted, white), item_label(item, label, wanted.classes, wanted.class_names), str(place)
    )


def _parts(name: str, item: Any) -> tuple[Any, Any]:
    """Picture and label of an item; None where it has no label."""
    if isinstance(item, Mapping):
        image, label = named_parts(name, item)
        return item[image], None if label is None else item[label]
    parts = item if isinstance(item, tuple | list) else (item,)
    if not parts:
        raise InputError(f"{name} is empty; return (picture, label), or a picture")
    return parts[0], parts[1] if len(parts) > 1 else None


def _image(name: str, picture: Any, wanted: DataRequest, white: pictures.WhiteLevel) -> Tensor:
    """The picture of an item as (C, H, W) float in [0, 1]; InputError, which names the item, where it is none."""
    if isinstance(picture, Image.Image):
        try:
            with pictures.unreadable_if_broken():
                upright = pictures.upright_8_bit(picture, white)
            return pictures.picture_tensor(pictures.fit_picture(upright, wanted.input))
        except (pictures.Unreadable, InputError) as error:
            raise InputError(f"{name}: {error}") from error
    if not _is_array(picture):
        raise InputError(f"{name} is a {type(picture).__name__}; return a tensor (C, H, W), an array or a PIL image")
    pixels = arrays.pixel_tensor(name, picture)
    order = arrays.array_layout(name, (1, *pixels.shape), wanted.input)
    return arrays.image_batch(name, pixels[None], order, wanted.scale, None)[0]


def _sixteen_bit_maxima(name: str, made: Any, count: int) -> Iterator[int]:
    """The largest value of every 16-bit picture of a data set."""
    for place in range(min(count, sys.maxsize)):
        picture, _ = _parts(f"{name}[{place}]", _read(name, made, place, count))
        if isinstance(picture, Image.Image) and (highest := pictures.maximum(picture)) is not None:
            yield highest
