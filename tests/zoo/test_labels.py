"""One rule for labels at every door: what is taken, and what is refused by item and value."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from sparring.errors import InputError
from sparring.zoo import load_data
from sparring.zoo.batches import Batches
from sparring.zoo.dataset import DataRequest
from sparring.zoo.labels import class_labels, item_label

IMAGES = np.linspace(0, 1, 3 * 16, dtype=np.float32).reshape(3, 1, 4, 4)
NAMES = ("cat", "dog", "Ångström")


class Items:
    """A data set of three images, with labels one by one."""

    def __init__(self, labels: Any) -> None:
        self.labels = labels

    def __len__(self) -> int:
        return 3

    def __getitem__(self, place: int) -> tuple[Any, Any]:
        return IMAGES[place], self.labels[place]


def through_arrays(labels: Any, path: Path) -> list[int] | None:
    return read((IMAGES, labels))


def through_items(labels: Any, path: Path) -> list[int] | None:
    return read(Items(labels))


def through_batches(labels: Any, path: Path) -> list[int] | None:
    [chunk] = Batches([(IMAGES, labels)], "batches", DataRequest(classes=3, class_names=NAMES)).chunks(8)
    return None if chunk.labels is None else chunk.labels.tolist()


def through_npz(labels: Any, path: Path) -> list[int] | None:
    np.savez(path / "a.npz", images=IMAGES, labels=np.asarray(labels))
    return read(path / "a.npz")


def read(data: Any) -> list[int] | None:
    _, labels = load_data(data, classes=3, class_names=NAMES).tensors()
    return None if labels is None else labels.tolist()


DOORS = [through_arrays, through_items, through_batches, through_npz]
Door = Callable[[Any, Path], list[int] | None]
TAKEN = {
    "numbers": [0, 2, 1],
    "bytes": np.array([0, 2, 1], dtype=np.uint8),
    "a column": np.array([[0], [2], [1]]),
    "tensor": torch.tensor([0, 2, 1]),
    "whole floats": np.array([0.0, 2.0, 1.0]),
    "one-hot": np.eye(3)[[0, 2, 1]],
    "one-hot by columns": np.asfortranarray(np.eye(3)[[0, 2, 1]]),
    "one-hot bools": np.eye(3)[[0, 2, 1]] > 0,
    "words": ["Cat", "a\u030angstro\u0308m", "dog"],
    "words that are numbers": ["0", "2", "1.0"],
}
REFUSED = {
    "a fraction": ([0, 3.7, 1], "3.7; a label is a whole number"),
    "NaN": ([0, float("nan"), 1], "nan; a label is a whole number"),
    "a bool": (np.array([False, True, True]), "a bool is no class"),
    "negative": ([0, -1, 1], "-1; the model's classes are 0 to 2"),
    "too large": ([0, 3, 1], "3; the model's classes are 0 to 2"),
    "beyond int64": (np.array([0, 2**64 - 1, 1], dtype=np.uint64), "the model's classes are 0 to 2"),
    "soft": (np.array([[1, 0, 0], [0.2, 0.8, 0], [0, 1, 0]]), "of soft labels the argmax"),
    "several": (np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0]]), "one class per image is needed"),
    "a strange word": (["cat", "dogs", "dog"], "'dogs'; a word that is no class name of the model.*Did you mean 'dog'"),
}  # fmt: skip


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("kind", TAKEN)
def test_the_usual_forms_of_labels_are_taken(door: Door, kind: str, tmp_path: Path) -> None:
    assert door(TAKEN[kind], tmp_path) == [0, 2, 1]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_class_is_refused_by_item_and_value(door: Door, kind: str, tmp_path: Path) -> None:
    labels, said = REFUSED[kind]
    place = 0 if isinstance(labels, np.ndarray) and labels.dtype == bool else 1
    named = rf"(image {place}|Items\[{place}\]) has the label .*"
    with pytest.raises(InputError, match=named + said):
        door(labels, tmp_path)


@pytest.mark.parametrize("door", [through_arrays, through_items, through_batches])
def test_none_for_every_image_means_no_labels(door: Door, tmp_path: Path) -> None:
    assert door([None, None, None], tmp_path) is None
    assert "the model's own prediction" in load_data((IMAGES, [None] * 3)).label_note


def test_none_beside_labels_in_an_array_is_refused() -> None:
    with pytest.raises(InputError, match="image 1 has the label None; give every image a label, or none of them"):
        read((IMAGES, [0, None, 1]))


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([0, 1], r"labels of shape \(2,\) beside 3 images"),
        (2, r"labels of shape \(1,\) beside 3 images"),
        (np.zeros((3, 2, 2)), r"labels of shape \(3, 2, 2\) beside 3 images"),
        ([[0], [1, 2], [1]], "labels of unequal shapes"),
        (np.eye(4)[:3], "one-hot labels of 4 classes, and the model has 3"),
        ([0, 2**70, 1], "image 1 has the label 1180591620717411303424"),
        ([0, {}, 1], "image 1 has the label {}; a dict is no class"),
        (np.array([0, True, 1.0], dtype=object), "image 1 has the label True; a bool is no class"),
    ],
)
def test_labels_of_a_wrong_shape_or_type_are_refused(labels: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read((IMAGES, labels))


@pytest.mark.parametrize(
    "label", [1, 1.0, np.int8(1), np.array(1), np.array([1]), torch.tensor(1), [0, 1, 0], "dog", "1"]
)
def test_the_label_of_one_image_may_have_any_form(label: Any) -> None:
    assert item_label("item", label, 3, NAMES) == 1


def test_words_need_class_names() -> None:
    with pytest.raises(InputError, match="image 1 has the label 'x'; a word, and no class names are known"):
        class_labels("data", ["0", "x"], 2)


def test_wordnet_ids_are_words_of_imagenet() -> None:
    labels = class_labels("data", ["n01440764", "tabby"], 2, 1000)
    assert labels is not None
    assert labels.tolist() == [0, 281]


def test_labels_of_float_tensors_in_half_precision_are_numbers() -> None:
    assert read((IMAGES, torch.tensor([0, 2, 1]).bfloat16())) == [0, 2, 1]


@pytest.mark.parametrize("array", ["label", "targets", "Target", "y"])
def test_an_archive_may_call_its_labels_by_their_usual_names(tmp_path: Path, array: str) -> None:
    np.savez(tmp_path / "a.npz", images=IMAGES, names=np.zeros(3), **{array: np.array([0, 2, 1])})
    data = load_data(tmp_path / "a.npz", classes=3)
    assert data.labelled
    assert data.label_note == f"labels: the array '{array}'; not read: the arrays names"
    np.savez(tmp_path / "b.npz", images=IMAGES, labels=np.zeros(3, int), y=np.zeros(3, int))
    with pytest.raises(InputError, match="holds labels and y, and only one of them can be the labels"):
        load_data(tmp_path / "b.npz", classes=3)


def test_items_may_be_mappings() -> None:
    rows = [{"image": image, "label": label} for image, label in zip(IMAGES, (0, 2, 1), strict=True)]
    assert read(rows) == [0, 2, 1]
    with pytest.raises(InputError, match=r"list\[0\] has img, fine_label, coarse_label; call the images 'image'"):
        read([{"img": IMAGES[0], "fine_label": 1, "coarse_label": 0}])


def test_a_loader_gives_words_as_it_gives_numbers() -> None:
    rows: Any = [(image, word) for image, word in zip(IMAGES, ("cat", "Ångström", "dog"), strict=True)]
    assert read(DataLoader(rows, batch_size=2)) == [0, 2, 1]
