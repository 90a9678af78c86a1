"""`FILE.py:FACTORY` as data: (images, labels), images alone, or a data set with `len` and `[i]`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ..errors import InputError, user_code
from ..isolation import user_settings
from . import arrays, pictures, python_file
from .dataset import OWN_PREDICTION, Data, DataRequest, Row

GIVEN = "labels: those the factory returned"


def user_data(file: Path, factory: str, wanted: DataRequest) -> Data:
    """Return what FACTORY() of a user's file returns, as Data; InputError where it is no data set."""
    name = f"{file}:{factory}"
    made = python_file.call_factory(file, factory)
    if isinstance(made, Data):
        return made
    if _is_array(made):
        return _arrays(name, made, None, wanted)
    if isinstance(made, tuple) and len(made) == 2 and _is_array(made[0]):
        return _arrays(name, made[0], made[1], wanted)
    if hasattr(made, "__len__") and hasattr(made, "__getitem__") and not isinstance(made, (tuple, dict, str)):
        return _dataset(name, made, wanted)
    cure = "return (images, labels), images, or a data set with len() and [i]"
    loader = " (of a DataLoader, its .dataset)" if hasattr(made, "dataset") else ""
    raise InputError(f"{name} returned {type(made).__name__}; {cure}{loader}")


def _is_array(made: object) -> bool:
    return isinstance(made, (torch.Tensor, np.ndarray))


def _numpy(made: Any) -> NDArray[Any]:
    return made.detach().cpu().numpy() if isinstance(made, torch.Tensor) else np.asarray(made)


def _arrays(name: str, images: Any, labels: Any, wanted: DataRequest) -> Data:
    pixels = _numpy(images)
    order = arrays.array_layout(name, pixels.shape, wanted.input)
    checked = None if labels is None else arrays.array_labels(name, _numpy(labels), len(pixels), wanted.classes)
    taken = pixels[: wanted.limit]

    def rows() -> Iterator[Row]:
        return arrays.array_rows(name, iter(taken), checked, order)

    note = OWN_PREDICTION if checked is None else GIVEN
    return Data(name, checked is not None, note, wanted.class_names, len(taken), rows)


def _dataset(name: str, made: Any, wanted: DataRequest) -> Data:
    with user_code(f"len({name}())"), user_settings():
        count = min(wanted.limit or len(made), len(made))
    if not count:
        raise InputError(f"{name} returned an empty data set")
    with user_code(f"{name}[0]"), user_settings():
        first = made[0]
    labelled = isinstance(first, (tuple, list)) and len(first) > 1 and first[1] is not None
    at = partial(_at, name, made, wanted)
    note = GIVEN if labelled else OWN_PREDICTION
    return Data(name, labelled, note, wanted.class_names, count, lambda: map(at, range(count)), at=at)


def _at(name: str, made: Any, wanted: DataRequest, place: int) -> Row:
    with user_code(f"{name}[{place}]"), user_settings():
        item = made[place]
    return _item(f"{name}[{place}]", item, place, wanted)


def _item(name: str, item: Any, place: int, wanted: DataRequest) -> Row:
    parts = item if isinstance(item, (tuple, list)) else (item,)
    if not parts:
        raise InputError(f"{name} is empty; return (picture, label), or a picture")
    picture, label = parts[0], parts[1] if len(parts) > 1 else None
    if isinstance(picture, Image.Image):
        image = pictures.picture_tensor(pictures.fit_picture(pictures.upright_8_bit(picture), wanted.input))
    elif _is_array(picture):
        pixels = _numpy(picture)
        image = arrays.array_image(name, pixels, arrays.array_layout(name, (1, *pixels.shape), wanted.input))
    else:
        cure = "return a tensor (C, H, W), an array or a PIL image"
        raise InputError(f"{name} is a {type(picture).__name__}; {cure}")
    return Row(image, None if label is None else _label(name, label, wanted.classes), str(place))


def _label(name: str, given: Any, classes: int | None) -> int:
    """The label as a whole number; InputError for what is none: a float, a bool, a word, several numbers."""
    label = _numpy(given)
    if label.size != 1:
        raise InputError(f"{name} has a label of shape {label.shape}; return one whole number, the class")
    if not np.issubdtype(label.dtype, np.integer):
        raise InputError(f"{name} has the label {given!r:.80} ({label.dtype}); return a whole number, the class")
    return int(arrays.array_labels(name, label.reshape(1), 1, classes)[0])
