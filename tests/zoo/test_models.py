"""The zoo's own models: the weights load, the numbers are those that were measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from sparring.zoo import InputSpec, catalog, load_data, load_model
from sparring.zoo.efficientnet_lite import SIZES, EfficientNetLite, SameConv, renamed
from sparring.zoo.loaders.zoo_models import checksum

Asset = Callable[[str], Path]


def test_mnist_plain_is_small_and_says_where_it_comes_from() -> None:
    weights = catalog.WEIGHTS / "mnist-plain.safetensors"
    assert weights.stat().st_size < 1_000_000
    with safe_open(weights, framework="pt") as file:
        said = file.metadata()
    assert said["script"] == "scripts/train_mnist_plain.py"
    assert float(said["held_out_accuracy"]) >= 0.975
    model = load_model("zoo:mnist-plain")
    assert (model.input, model.sha256) == (InputSpec(1, 28, 28), checksum(weights))
    assert model.target(torch.rand(2, 1, 28, 28)).shape == (2, 10)


def accuracy(model_name: str, data_name: str, batch_size: int) -> float:
    model = load_model(model_name)
    data = load_data(data_name, input=model.input, class_names=model.class_names)
    assert data.labelled
    hits = 0
    with torch.no_grad(), model.target.frozen():
        for chunk in data.chunks(batch_size):
            assert chunk.labels is not None
            hits += int((model.target(chunk.images).argmax(1) == chunk.labels).sum())
    assert data.skipped == []
    return hits / len(data)


def test_mnist_plain_knows_digits_it_never_saw(asset: Asset) -> None:
    folder = asset("mnist-5k")
    with safe_open(catalog.WEIGHTS / "mnist-plain.safetensors", framework="pt") as file:
        said = file.metadata()
    assert said["data_sha256"] == checksum(folder / "mnist_5k.csv.gz")
    assert accuracy("zoo:mnist-plain", "zoo:mnist-heldout", 250) == pytest.approx(
        float(said["held_out_accuracy"]), abs=0.002
    )


def test_mnist_plain_on_the_test_digits(asset: Asset) -> None:
    asset("mnist")
    assert accuracy("zoo:mnist-plain", "zoo:mnist", 500) >= 0.98


@pytest.mark.parametrize("name", SIZES)
def test_efficientnet_lite_names_eighteen_of_twenty_pictures(asset: Asset, name: str) -> None:
    asset(name)
    asset("imagenet-20")
    assert accuracy(f"zoo:{name}", "zoo:imagenet-20", 5) == 0.9


def test_efficientnet_lite_agrees_with_the_package_s_network(asset: Asset) -> None:
    package = pytest.importorskip(
        "efficientnet_lite_pytorch", reason="needs efficientnet-lite-pytorch: run 'make test'"
    )
    weights = next(asset("efficientnet-lite1").glob("*.pth"))
    theirs = package.EfficientNet.from_name("efficientnet-lite1").eval()
    ours = EfficientNetLite(SIZES["efficientnet-lite1"]).eval()
    state = torch.load(weights, map_location="cpu", weights_only=True)
    theirs.load_state_dict(state)
    ours.load_state_dict(renamed(state))
    x = torch.randn(2, 3, 240, 240, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("size", "kernel", "stride"), [(224, 3, 2), (225, 3, 2), (7, 5, 2), (8, 5, 1), (1, 3, 2)])
def test_same_padding_gives_one_output_per_stride(size: int, kernel: int, stride: int) -> None:
    conv = SameConv(2, 3, kernel, stride)
    assert conv(torch.zeros(1, 2, size, size + 3)).shape == (
        1,
        3,
        -(-size // stride),
        -(-(size + 3) // stride),
    )


def test_same_padding_puts_the_odd_pixel_after() -> None:
    conv = SameConv(1, 1, 3, 2)
    torch.nn.init.ones_(conv.weight)
    x = torch.zeros(1, 1, 4, 4)
    x[..., 0, 0] = 1
    assert conv(x).flatten().tolist() == [1, 0, 0, 0]
    x = torch.zeros(1, 1, 4, 4)
    x[..., 2, 2] = 1
    assert conv(x).flatten().tolist() == [1, 1, 1, 1]
