"""One rule for labels, whatever door they come through.

Taken are whole numbers in the shapes (N,), (N, 1) and, of one image, () and (1,); floats that are whole (3.0 is class
3); one-hot rows (N, classes) of numbers or bools; words that are class names of the model, or numbers. None for every
image means that there are no labels. All else is refused with the item, its value and the cure: fractions, NaN, bools,
soft labels, several classes, numbers that are no class, words that are no class, and None beside labels.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import InputError, nearest
from .class_words import named_classes, normalized_name, wordnet_classes

NUMBER = re.compile(r"\s*-?[0-9]+(\.[0-9]+)?\s*")
EXACT = 2**53  # up to here floats hold every whole number


def class_labels(
    name: str,
    given: Any,
    count: int,
    classes: int | None = None,
    class_names: tuple[str, ...] | None = None,
    item: Callable[[int], str] = "image {}".format,
) -> NDArray[np.int64] | None:
    """Return the labels (N,) of `count` images; None where every label is None.

    Args:
        name: what the labels are called in errors, followed by what `item` makes of the number of a label.
        given: numbers, one-hot rows or words, as an array, a tensor or a list.
        classes: how many the model has, if that is known; `class_names`: what they are called.

    Raises: InputError, which names the first label that is none.
    """
    classes = classes or (len(class_names) if class_names else None)
    known = _Known(name, item, classes, class_names)
    labels = known.plain(np.atleast_1d(label_array(name, given)))
    if labels is None:
        return None
    if len(labels) != count:
        raise InputError(f"{name}: labels of shape {labels.shape} beside {count} images; one label per image is needed")
    if labels.size == count:
        return known.numbers(labels.reshape(count))
    if labels.ndim == 2 and labels.dtype.kind in "biuf":
        return known.one_hot(labels)
    raise InputError(f"{name}: labels of shape {labels.shape} beside {count} images; one label per image is needed")


def item_label(
    name: str, given: Any, classes: int | None = None, class_names: tuple[str, ...] | None = None
) -> int | None:
    """Return the label of one image, None where it has none; InputError as for `class_labels`."""
    if given is None:
        return None
    labels = class_labels(name, label_array(name, given)[None], 1, classes, class_names, _none)
    return None if labels is None else int(labels[0])


def label_array(name: str, given: Any) -> NDArray[Any]:
    """Return what was given as an array of NumPy; InputError where it is none."""
    if isinstance(given, torch.Tensor):
        given = given.detach().cpu()
        return np.asarray((given.double() if given.is_floating_point() else given).numpy())
    try:
        if isinstance(given, list | tuple) and any(isinstance(part, torch.Tensor) for part in given):
            given = [label_array(name, part) for part in given]
        return np.asarray(given)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{name}: labels of unequal shapes; one whole number per image is needed ({error})") from error


def _none(_: int) -> str:
    return ""


class _Known:
    """What is known of the classes, and the words of an error."""

    def __init__(
        self, name: str, item: Callable[[int], str], classes: int | None, class_names: tuple[str, ...] | None
    ) -> None:
        self.name, self.item, self.classes, self.class_names = name, item, classes, class_names

    def refusal(self, place: int, value: object, cure: str) -> InputError:
        where = ": ".join(filter(None, (self.name, self.item(place))))
        return InputError(f"{where} has the label {value!r:.80}; {cure}")

    def plain(self, labels: NDArray[Any]) -> NDArray[Any] | None:
        """Labels of Python's objects as numbers or words; None where all of them are None."""
        if labels.dtype.kind == "T":
            return labels.astype(str)
        if labels.dtype.kind != "O":
            return labels
        values = list(labels.reshape(-1))
        width = max(labels[:1].size, 1)
        if all(value is None for value in values):
            return None
        for place, value in enumerate(values):
            if value is None:
                raise self.refusal(place // width, value, "give every image a label, or none of them")
        if all(isinstance(value, str) for value in values):
            return labels.astype(str)
        for place, value in enumerate(values):
            if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
                cure = f"a {type(value).__name__} is no class: give its number, as int(label)"
                raise self.refusal(place // width, value, cure)
            if isinstance(value, Integral) and abs(int(value)) >= EXACT:
                raise self.refusal(place // width, value, self.reach)
        return np.asarray([float(value) for value in values]).reshape(labels.shape)

    @property
    def reach(self) -> str:
        return f"the model's classes are 0 to {self.classes - 1}" if self.classes else "classes count from 0 upward"

    def numbers(self, labels: NDArray[Any]) -> NDArray[np.int64]:
        """The classes (N,) that numbers or words mean."""
        kind = labels.dtype.kind
        if kind in "US":
            return self.words([word.decode(errors="replace") if kind == "S" else str(word) for word in labels.tolist()])
        if kind == "f":
            with np.errstate(invalid="ignore"):
                wrong = ~((np.abs(labels) < EXACT) & (labels == np.floor(labels)))
            cure = "a label is a whole number, the class"
        else:
            wrong = np.full(len(labels), kind not in "iu")
            cure = f"a {labels.dtype} is no class: give its number, as int(label)"
        if wrong.any():
            place = int(wrong.argmax())
            raise self.refusal(place, labels[place].item(), cure)
        outside = (labels < 0) | (labels >= (self.classes or EXACT))
        if outside.any():
            place = int(outside.argmax())
            raise self.refusal(place, int(labels[place]), self.reach)
        return labels.astype(np.int64)

    def one_hot(self, rows: NDArray[Any]) -> NDArray[np.int64]:
        """The place of the one in each row; InputError where a row is not one-hot."""
        wrong = ((rows == 1).sum(1) != 1) | ((rows == 0).sum(1) != rows.shape[1] - 1)
        if wrong.any():
            place = int(wrong.argmax())
            cure = "one class per image is needed: a whole number, or a row with a single 1; of soft labels the argmax"
            raise self.refusal(place, rows[place].tolist(), cure)
        if self.classes and rows.shape[1] != self.classes:
            raise InputError(
                f"{self.name}: one-hot labels of {rows.shape[1]} classes, and the model has {self.classes}; give the "
                "numbers of the classes"
            )
        found: NDArray[np.int64] = rows.argmax(1).astype(np.int64)
        return found

    def words(self, words: list[str]) -> NDArray[np.int64]:
        """The classes that words mean: numbers if all are, else names."""
        if all(NUMBER.fullmatch(word) for word in words):
            return self.numbers(np.array([float(word) for word in words]))
        table = wordnet_classes(self.classes) | named_classes(self.class_names, self.classes)
        for place, word in enumerate(words):
            if normalized_name(word) not in table and not (NUMBER.fullmatch(word) and not table):
                if not table:
                    raise self.refusal(
                        place, word, "a word, and no class names are known: give numbers, or name the classes"
                    )
                near = nearest(normalized_name(word), table)
                raise self.refusal(place, word, f"a word that is no class name of the model; give numbers.{near}")
        return np.array([table[normalized_name(word)] for word in words], dtype=np.int64)
