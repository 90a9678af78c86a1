"""The zoo's own models: the weights load, the numbers are those that were measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sparring import Linf, Misclassify, run
from sparring.attacks import PGD
from sparring.defenses.certification import certify_bounds
from sparring.defenses.training.plan import read_training_plan
from sparring.hashing import file_sha256
from sparring.storage import read_tensors
from sparring.zoo import InputSpec, catalog, load_data, load_model
from sparring.zoo.efficientnet_lite import SIZES, EfficientNetLite, SameConv, rename_keys

Asset = Callable[[str], Path]


def held(before: Any, now: Any) -> bool:
    """Whether all that a plan said before it still says; it may say more."""
    if isinstance(before, dict):
        return all(key in now and held(value, now[key]) for key, value in before.items())
    return bool(before == now)


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("mnist-plain", 1_000_000),
        ("mnist-robust-linf", 3_000_000),
        ("mnist-ibp-0.1", 1_000_000),
        ("mnist-ibp-0.3", 1_000_000),
    ],
)
def test_digit_nets_are_small_and_say_which_plan_made_them(name: str, limit: int) -> None:
    weights = catalog.WEIGHTS / f"{name}.safetensors"
    assert weights.stat().st_size < limit
    _, said = read_tensors(weights, "")
    plan = read_training_plan(catalog.PLANS / f"{name}.toml").model_dump(mode="json")
    assert held(said["plan"] | {"model": plan["model"]}, plan)  # the network is that of the zoo since
    model = load_model(f"zoo:{name}")
    assert (model.input, model.sha256) == (InputSpec(1, 28, 28), file_sha256(weights))
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
    asset("mnist-5k")
    assert accuracy("zoo:mnist-plain", "zoo:mnist-heldout", 250) >= 0.975


@pytest.mark.parametrize(("eps", "least"), [(0.1, 0.93), (0.3, 0.86)])
def test_intervals_certify_the_nets_that_were_trained_for_them(eps: float, least: float, asset: Asset) -> None:
    asset("mnist")
    model = load_model(f"zoo:mnist-ibp-{eps}")
    chunk = next(iter(load_data("zoo:mnist", input=model.input, limit=1000).chunks(1000)))
    assert chunk.labels is not None
    with torch.no_grad():
        found = certify_bounds(model.target, Misclassify(chunk.labels), chunk.images, Linf(eps), method="ibp")  # type: ignore[arg-type]
    assert float((found.margin > 0).double().mean()) > least


def test_the_digits_of_mnist_plain_and_those_held_out_are_all_there_are(asset: Asset) -> None:
    asset("mnist-5k")
    seen: dict[str, set[bytes]] = {}
    for name in ("mnist-4k", "mnist-heldout", "mnist-5k"):
        chunks = load_data(f"zoo:{name}", input=None).chunks(500)
        seen[name] = {image.numpy().tobytes() for chunk in chunks for image in chunk.images}
    assert not seen["mnist-4k"] & seen["mnist-heldout"]
    assert seen["mnist-4k"] | seen["mnist-heldout"] == seen["mnist-5k"]
    assert (len(seen["mnist-4k"]), len(seen["mnist-heldout"])) == (4000, 1000)


def test_the_robust_digits_net_withstands_pgd(asset: Asset) -> None:
    asset("mnist")
    model = load_model("zoo:mnist-robust-linf")
    (chunk, *_) = load_data("zoo:mnist", input=model.input, limit=200).chunks(200)
    assert chunk.labels is not None
    found = run(PGD(Linf(0.3), steps=40, step_size=0.01), model.target, Misclassify(chunk.labels), chunk.images)
    assert found.robust_accuracy >= 0.9
    assert accuracy("zoo:mnist-robust-linf", "zoo:mnist", 500) >= 0.98


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
    ours.load_state_dict(rename_keys(state))
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
