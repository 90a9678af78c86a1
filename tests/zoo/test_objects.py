"""Data as Python objects: data sets that are not what they say, loaders, lists, names and paths."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import sparring as sp
from sparring.errors import ConfigError, InputError, SparringError, UserCodeError
from sparring.targets import Classifier
from sparring.zoo import InputSpec, LoadedModel, load_data

IMAGES, LABELS = torch.linspace(0, 1, 6 * 3 * 16).reshape(6, 3, 4, 4), torch.tensor([0, 1, 2, 0, 1, 2])


class Made:
    """A data set of the length and the items that are given."""

    def __init__(self, length: Any, item: Callable[[int], Any]) -> None:
        self.length, self.item = length, item

    def __len__(self) -> int:
        if isinstance(self.length, Exception):
            raise self.length
        return self.length

    def __getitem__(self, place: int) -> Any:
        return self.item(place)


class WithoutLength:
    def __getitem__(self, place: int) -> Any:
        return IMAGES[place], 0


class Stream(IterableDataset):  # type: ignore[type-arg]
    def __iter__(self) -> Any:
        return zip(IMAGES, LABELS.tolist(), strict=True)


def item(place: int) -> Any:
    return IMAGES[place], int(LABELS[place])


def ends(place: int) -> Any:
    if place > 2:
        raise IndexError(place)
    return item(place)


def fails(place: int) -> Any:
    return item(place) if place != 4 else IMAGES[0] / [][0]


@pytest.mark.parametrize(
    ("data", "kind", "said"),
    [
        (Made(-1, item), UserCodeError, r"len\(Made\) raised ValueError"),
        (Made(KeyError("size"), item), UserCodeError, r"len\(Made\) raised KeyError"),
        (Made(2**70, item), UserCodeError, r"len\(Made\) raised OverflowError"),
        (Made(10**12, item), InputError, r"len\(Made\) is 1000000000000, .*--limit N"),
        (Made(0, item), InputError, "empty data set"),
        (Made(6, fails), UserCodeError, r"Made\[4\] raised IndexError"),
        (Made(6, ends), UserCodeError, r"Made\[3\] raised IndexError: 3; len\(\) says that there are 6 items"),
        (Made(6, lambda place: ()), InputError, r"Made\[0\] is empty"),
        (Made(6, lambda place: ("x.png", 0)), InputError, r"Made\[0\] is a str"),
        (Made(6, lambda place: (IMAGES[place, :, : 2 + place % 2], 0)), InputError, r"1 has shape \(3, 3, 4\)"),
        (Made(6, lambda place: (IMAGES[place, :2], 0)), InputError, "neither 1 nor 3 channels"),
        (WithoutLength(), InputError, r"WithoutLength without len\(\)"),
        (Stream(), InputError, "wrap it in a DataLoader"),
        (DataLoader(Stream(), batch_size=2), InputError, "does not say how many images it has"),
        (DataLoader(Made(6, fails), batch_size=3), UserCodeError, "batch 1 of DataLoader raised IndexError"),  # type: ignore[arg-type]
        (iter([]), InputError, "can be read only once"),
        (None, InputError, r"pass \(images, labels\)"),
        (7, InputError, r"pass \(images, labels\)"),
        ([], InputError, "empty data set"),
        ((IMAGES, LABELS, LABELS), InputError, "is a tuple"),
        (Path("/nowhere"), InputError, "/nowhere is no folder of pictures and no .npz file"),
        ("mnist", ConfigError, "'mnist' names no data"),
    ],
)
def test_data_that_is_not_what_it_says_is_refused_by_name(data: Any, kind: type[SparringError], said: str) -> None:
    with pytest.raises(kind, match=said):
        load_data(data).tensors()


def test_a_limit_spares_the_rest_of_a_data_set() -> None:
    for data in (Made(10**12, ends), DataLoader(Stream(), batch_size=2), (IMAGES, LABELS), [(IMAGES, LABELS)] * 2):
        images, labels = load_data(data, limit=3).tensors()
        assert labels is not None
        assert (tuple(images.shape), labels.tolist()) == ((3, 3, 4, 4), [0, 1, 2])
    whole = load_data((IMAGES, LABELS))
    assert len(load_data(whole, limit=2).tensors()[0]) == 2
    assert load_data(whole) is whole


@pytest.mark.parametrize(
    "data",
    [
        (IMAGES, LABELS),
        [IMAGES, LABELS],
        (IMAGES.numpy(), LABELS.tolist()),
        (IMAGES.permute(0, 2, 3, 1), LABELS),
        {"images": IMAGES, "labels": LABELS},
        TensorDataset(IMAGES, LABELS),
        list(zip(IMAGES, LABELS, strict=True)),
        Made(6, lambda place: {"image": IMAGES[place], "label": LABELS[place]}),
        DataLoader(TensorDataset(IMAGES, LABELS), batch_size=4),
        [(IMAGES[:4], LABELS[:4]), (IMAGES[4:].numpy(), LABELS[4:].numpy())],
    ],
    ids=["tuple", "list", "numpy", "channels last", "mapping", "data set", "items", "mappings", "loader", "batches"],
)
def test_the_same_data_in_any_form_is_the_same(data: Any) -> None:
    images, labels = load_data(data).tensors()
    assert labels is not None
    assert (images.dtype, labels.tolist()) == (torch.float32, LABELS.tolist())
    torch.testing.assert_close(images, IMAGES)


def test_images_alone_have_no_labels() -> None:
    for data in (IMAGES, IMAGES.numpy(), [IMAGES], TensorDataset(IMAGES), {"image": IMAGES}):
        images, labels = load_data(data).tensors()
        assert labels is None
        torch.testing.assert_close(images, IMAGES)


def test_a_model_says_what_it_needs(tmp_path: Path) -> None:
    for name in ("no", "yes"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (9, 5)).save(tmp_path / name / "a.png")
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
    model = LoadedModel("net", Classifier(net, classes=2), InputSpec(1, 4, 4), ("yes", "no"), "here", None)
    images, labels = load_data(tmp_path, model).tensors()
    assert images.shape == (2, 1, 4, 4)
    assert labels is not None
    assert labels.tolist() == [1, 0]
    with pytest.raises(InputError, match=r"image 1 has the label 2; the model's classes are 0 to 1"):
        load_data((np.zeros((2, 1, 4, 4)), [0, 2]), model)


def test_a_table_of_labels_is_for_folders() -> None:
    for data in ((IMAGES, LABELS), "zoo:mnist-heldout"):
        with pytest.raises(SparringError, match=r"brings? its own labels; a table of labels is for folder:DIR"):
            load_data(data, labels="labels.csv")


@pytest.mark.parametrize("image", ["image", "pixel_values"])
def test_batches_of_names_are_read_as_pairs_are(image):
    pixels, labels = torch.rand(6, 1, 4, 4), torch.arange(6)
    items = [{image: pixels[i], "label": int(labels[i])} for i in range(6)]
    for given in (DataLoader(items, batch_size=4), [{image: pixels, "labels": labels}]):
        found = load_data(given).tensors()
        assert torch.equal(found[0], pixels)
        assert found[1].tolist() == labels.tolist()
    with pytest.raises(InputError, match="has foo, bar; call the images 'image'"):
        load_data(DataLoader([{"foo": pixels[0], "bar": 1}])).tensors()


@pytest.mark.parametrize("spoil", [torch.Tensor.to_sparse, lambda x: x.to("meta")], ids=["sparse", "meta"])
def test_pictures_without_plain_values_are_refused(spoil):
    pixels = spoil(torch.rand(2, 1, 4, 4))
    target = sp.Classifier(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)))
    for given in (pixels, [(pixels, [0, 1])], [(spoil(torch.rand(1, 4, 4)), 0)]):
        with pytest.raises(InputError, match="dense"):
            load_data(given, target).tensors()
    with pytest.raises(InputError, match="dense"):
        sp.run(sp.attacks.FGSM(sp.Linf(0.1)), target, [0, 1], pixels)


@pytest.mark.parametrize("pixels", [torch.rand(3, 1, 4, 4), torch.rand(3, 1, 4, 4) > 0.5], ids=["floats", "bools"])
def test_pictures_that_lie_in_0_to_1_are_not_divided_again(pixels):
    with pytest.raises(InputError, match=r"image 0 has pixels up to .* in \[0, 1\] already, .* leave out --scale"):
        load_data((pixels, [0, 1, 2]), scale=255).tensors()
    deep = 255 * torch.rand(3, 1, 4, 4)
    deep[1] = 0
    assert torch.equal(load_data((deep, [0, 1, 2]), scale=255).tensors()[0], deep / 255)
