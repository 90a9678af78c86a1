"""The images of a training: as bytes in memory, or looked through once and read by position."""

import numpy as np
import pytest
import torch
from PIL import Image

from sparring.defenses.training.dataset import InMemoryData, StreamedData
from sparring.errors import InputError
from sparring.experiments.training_data import load_training_data
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
