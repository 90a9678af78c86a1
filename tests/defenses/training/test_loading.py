"""The images of a training: as bytes in memory, or looked through once and read by position."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from sparring.defenses.training.dataset import InMemoryData, StreamedData
from sparring.defenses.training.loading import as_indexed_data, load_training_data
from sparring.errors import InputError, UserCodeError
from sparring.targets import Classifier
from sparring.zoo import Data, InputSpec, Row, Skipped, load_data

SPEC = InputSpec(1, 6, 6)


def nothing(done, total):
    assert done <= total


def streamed(rows, at=None):
    return Data("given", True, "", None, len(rows), lambda: iter(rows), at=at)


def rows(count, scale=255):
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, scale, (count, 1, 6, 6))).float() / scale
    return [Row(image, place % 3, str(place)) for place, image in enumerate(pixels)]


@pytest.mark.parametrize(("scale", "kept"), [(255, torch.uint8), (1000, torch.float32)])
def test_streams_are_held_as_bytes_where_that_loses_nothing(scale, kept):
    given = rows(150, scale)
    source, labels = load_training_data(streamed(given), 0, nothing)
    assert isinstance(source, InMemoryData)
    assert source.pixels.dtype == kept
    images, read = source.at(torch.arange(150))
    assert torch.equal(images, torch.stack([row.image for row in given]))
    assert read.tolist() == labels.tolist() == [row.label for row in given]


def test_bytes_become_floats_when_one_image_asks_for_it():
    given = [*rows(100), Row(torch.full((1, 6, 6), 0.1234), 2, "last")]
    given.insert(3, Skipped("broken", "of itself"))
    source, labels = load_training_data(streamed(given), 0, nothing)
    images, _ = source.at(torch.tensor([0, 100]))
    assert torch.equal(images[0], given[0].image)
    assert float(images[1, 0, 0, 0]) == pytest.approx(0.1234)
    assert (len(source), len(labels)) == (101, 101)


@pytest.fixture
def folder(tmp_path):
    """`folder:` with three classes of four, and among them a broken picture."""
    for label in range(3):
        (tmp_path / str(label)).mkdir()
        for place in range(4):
            Image.new("L", (6, 6), 40 * label + place).save(tmp_path / str(label) / f"{place}.png")
    (tmp_path / "1" / "2.png").write_bytes(b"broken")
    return tmp_path


@pytest.mark.parametrize("workers", [0, 1])
def test_folders_are_looked_through_and_read_by_position(folder, workers):
    data = load_data(f"folder:{folder}", input=SPEC)
    source, labels = load_training_data(data, workers, nothing)
    assert isinstance(source, StreamedData)
    assert [skipped.name for skipped in data.skipped] == ["1/2.png"]
    kept = [row for row in data.rows() if isinstance(row, Row)]
    images, read = next(source.batches([torch.arange(11)]))
    assert torch.equal(images, torch.stack([row.image for row in kept]))
    assert read.tolist() == labels.tolist() == [row.label for row in kept]
    (folder / "0" / "1.png").write_bytes(b"gone")
    with pytest.raises(InputError, match=r"0/1\.png could be read before, and now it cannot"):
        list(source.batches([torch.arange(11)]))


def test_what_cannot_be_trained_on(folder):
    with pytest.raises(InputError, match="has no labels; training needs a label for every image"):
        load_training_data(load_data(f"flat:{folder}", input=SPEC), 0, nothing)
    half = [*rows(2), Row(torch.zeros(1, 6, 6), None, "third")]
    for at in (None, half.__getitem__):
        with pytest.raises(InputError, match="given: third has no label"):
            load_training_data(streamed(half, at), 0, nothing)
    uneven = [*rows(2), Row(torch.zeros(1, 5, 5), 0, "third")]
    for at in (None, uneven.__getitem__):
        with pytest.raises(InputError, match=r"third has shape \(1, 5, 5\) where those before it have \(1, 6, 6\)"):
            load_training_data(streamed(uneven, at), 0, nothing)
    broken = [Skipped("one", "empty")]
    for at in (None, broken.__getitem__):
        with pytest.raises(InputError, match=r"none of 1 pictures can be used \(one: empty\)"):
            load_training_data(streamed(broken, at), 0, nothing)


class Pairs:
    """A data set of ten images in two classes, whose labels may be written in any form."""

    def __init__(self, write: Callable[[int], Any] = int) -> None:
        self.write = write
        self.images = torch.linspace(0, 1, 40).mul(255).round().div(255).reshape(10, 1, 2, 2)

    def __len__(self) -> int:
        return 10

    def __getitem__(self, place: int) -> tuple[Tensor, Any]:
        return self.images[place], self.write(place % 2)


def classifier() -> Classifier:
    return Classifier(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2)), classes=2)


@pytest.mark.parametrize("form", ["pair", "numpy", "loader", "items", "npz", "data", "data set"])
def test_a_training_takes_what_an_audit_takes(form: str, tmp_path: Path) -> None:
    pairs: Any = Pairs()
    images, labels = pairs.images, torch.arange(10) % 2
    np.savez(tmp_path / "a.npz", images=(images * 255).round().byte().numpy(), labels=labels.numpy())
    given = {
        "pair": (images, labels.tolist()),
        "numpy": ((images * 255).round().byte().numpy(), labels.numpy()),
        "loader": DataLoader(pairs, batch_size=4),
        "items": [pairs[place] for place in range(10)],
        "npz": f"npz:{tmp_path / 'a.npz'}",
        "data": load_data((images, labels)),
        "data set": pairs,
    }[form]
    found = as_indexed_data(given, classifier())
    read, classes = found.at(torch.tensor([3, 8]))
    torch.testing.assert_close(read, images[[3, 8]])
    assert classes.tolist() == [1, 0]
    assert len(found) == 10


@pytest.mark.parametrize("write", [float, lambda label: np.array([label]), lambda label: torch.eye(2)[label], np.int32])
def test_labels_of_a_streamed_data_set_follow_the_one_rule(write: Callable[[int], Any]) -> None:
    assert as_indexed_data(Pairs(write), classifier()).at(torch.tensor([3, 8]))[1].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("write", "error", "said"),
    [
        (lambda label: label + 0.7, InputError, r"item 3 has the label 1\.7"),
        (bool, InputError, "item 3 has the label True; a bool is no class"),
        (lambda label: 2, InputError, "item 3 has the label 2; the model's classes are 0 to 1"),
        (lambda label: "dog", InputError, "item 3 has the label 'dog'"),
        (lambda label: {}[label], UserCodeError, "Pairs at 3 and others raised KeyError"),
    ],
)
def test_a_streamed_data_set_that_gives_no_labels_is_named(
    write: Callable[[int], Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        as_indexed_data(Pairs(write), classifier()).at(torch.tensor([3, 8]))


def test_unlabelled_data_trains_nothing() -> None:
    for given in (Pairs().images, (Pairs().images, [None] * 10)):
        with pytest.raises(InputError, match="training needs a label for every image"):
            as_indexed_data(given, classifier())
