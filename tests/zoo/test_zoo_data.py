"""The zoo's own data: photographs, pictures and digits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sparring.errors import AssetError, InputError
from sparring.zoo import InputSpec, digits, imagenet_classes, load_data

Asset = Callable[[str], Path]
IMAGENET = imagenet_classes.class_names()
SPEC = InputSpec(3, 64, 64, crop_fraction=0.875)


def test_photos_have_labels_only_where_they_are_clear(asset: Asset) -> None:
    asset("photos")
    data = load_data("zoo:photos", input=SPEC, class_names=IMAGENET)
    chunks = list(data.chunks(4))
    assert [chunk.first for chunk in chunks] == [0, 2, 6, 10]
    assert [None if chunk.labels is None else chunk.labels.tolist() for chunk in chunks] == [
        [872, 967],
        None,
        None,
        None,
    ]
    assert [IMAGENET[label] for label in (872, 967)] == ["tripod", "espresso"]
    assert (data.labelled, len(data)) == (False, 11)
    assert "2 of 11 photographs" in data.label_note
    assert "the model's own prediction" in data.label_note


def test_photos_have_no_labels_for_a_model_of_other_classes(asset: Asset) -> None:
    asset("photos")
    data = load_data("zoo:photos", input=InputSpec(1, 28, 28), classes=10, limit=3)
    [chunk] = data.chunks(4)
    assert (chunk.labels, tuple(chunk.images.shape)) == (None, (3, 1, 28, 28))
    assert data.class_names is None


def test_imagenet_20_has_its_labels(asset: Asset) -> None:
    asset("imagenet-20")
    data = load_data("zoo:imagenet-20", input=SPEC, classes=1000)
    [chunk] = data.chunks(20)
    assert chunk.labels is not None
    assert chunk.labels.tolist()[:4] == [243, 559, 438, 990]
    with pytest.raises(InputError, match="labelled with 1,000 classes, and the model has 10"):
        load_data("zoo:imagenet-20", input=SPEC, classes=10)


@pytest.mark.parametrize(("name", "count"), [("mnist-5k", 5000), ("mnist-heldout", 1000)])
def test_digits_come_in_turn(asset: Asset, name: str, count: int) -> None:
    asset("mnist-5k")
    data = load_data(f"zoo:{name}", input=InputSpec(1, 28, 28), classes=10, limit=20)
    [chunk] = data.chunks(50)
    assert chunk.labels is not None
    assert chunk.labels.tolist() == [*range(10), *range(10)]
    assert chunk.images.max() == 1
    assert len(load_data(f"zoo:{name}", input=None)) == count


def test_digits_do_not_fit_a_model_of_other_classes_or_sizes(asset: Asset) -> None:
    asset("mnist-5k")
    with pytest.raises(InputError, match="zoo:mnist-5k has ten classes, and the model has 1000"):
        load_data("zoo:mnist-5k", input=None, classes=1000)
    with pytest.raises(InputError, match=r"do not fit the model, which takes 3 channels of 64 x 64"):
        load_data("zoo:mnist-5k", input=SPEC, classes=10)


def test_data_that_was_not_fetched_says_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARRING_CACHE", str(tmp_path))
    with pytest.raises(AssetError, match=r"mnist is not here .*run: sparring zoo get mnist"):
        load_data("zoo:mnist", input=None)


def test_every_fifth_digit_of_a_class_is_held_out() -> None:
    labels = np.array([0] * 10 + [1] * 7)
    assert np.flatnonzero(digits.is_held_out(labels)).tolist() == [4, 9, 14]


def idx(shape: tuple[int, ...], content: bytes) -> bytes:
    return bytes([0, 0, 8, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape) + content


def test_idx_files_are_read_and_checked(tmp_path: Path) -> None:
    images, labels = tmp_path / "images", tmp_path / "labels"
    images.write_bytes(idx((2, 2, 3), bytes(range(12))))
    labels.write_bytes(idx((2,), b"\x07\x01"))
    pixels, classes = digits.read_digits_idx(images, labels)
    assert pixels.tolist() == [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 10, 11]]]
    assert classes.tolist() == [7, 1]
    labels.write_bytes(idx((1,), b"\x07"))
    with pytest.raises(InputError, match=r"\(2, 2, 3\) images beside \(1,\) labels"):
        digits.read_digits_idx(images, labels)
    images.write_bytes(idx((2, 2, 3), bytes(11)))
    with pytest.raises(InputError, match="images: not a whole idx file"):
        digits.read_digits_idx(images, labels)
    images.write_bytes(b"")
    with pytest.raises(InputError, match="images: not a whole idx file"):
        digits.read_digits_idx(images, labels)
