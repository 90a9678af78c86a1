"""Feature denoising blocks against direct loops over places."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import median_filter, uniform_filter
from torch import nn
from torch.nn import functional as F

from sparring.defenses.purification import FeatureDenoising
from sparring.errors import ConfigError, InputError
from sparring.random import Key

KINDS = ("gaussian", "dot", "mean", "median")


def drawn(stream, shape):
    return Key(torch.arange(shape[0]), 6).normal(stream, shape[1:], dtype=torch.float64)


def block(kind, channels=4):
    """A block whose last convolution is the identity, so that it gives x + denoised(x)."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        made = FeatureDenoising(channels, kind).double()
    with torch.no_grad():
        made.last.weight.copy_(torch.eye(channels)[:, :, None, None])
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_block_is_the_identity(kind):
    features = drawn("x", (2, 6, 5, 4)).float()
    assert torch.equal(FeatureDenoising(6, kind)(features), features)


@pytest.mark.parametrize("kind", ["gaussian", "dot"])
def test_non_local_means_are_the_double_loop(kind):
    features, made = drawn("x", (2, 4, 3, 5)), block(kind)
    places = features.flatten(2).numpy()  # (2, 4, 15)
    wanted = np.zeros_like(places)
    for b in range(2):
        for i in range(15):
            x = places[b]
            if kind == "dot":
                weights = [float(x[:, i] @ x[:, j]) / 15 for j in range(15)]
            else:
                theta, phi = (layer.weight.detach().numpy()[:, :, 0, 0] for layer in (made.theta, made.phi))
                scores = [math.exp((theta @ x[:, i]) @ (phi @ x[:, j]) / math.sqrt(2)) for j in range(15)]
                weights = [score / sum(scores) for score in scores]
            wanted[b, :, i] = sum(weights[j] * x[:, j] for j in range(15))
    found = (made(features) - features).detach().flatten(2).numpy()
    assert np.allclose(found, wanted, rtol=0, atol=1e-10)


def test_means_and_medians_are_scipys():
    features = drawn("x", (2, 4, 5, 6))
    for kind, wanted in (
        ("mean", uniform_filter(features.numpy(), size=(1, 1, 3, 3), mode="reflect")),
        ("median", median_filter(features.numpy(), size=(1, 1, 3, 3), mode="reflect")),
    ):
        found = (block(kind)(features) - features).detach().numpy()
        assert np.allclose(found, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_slopes(kind):
    made = block(kind, 2)
    features = drawn("x", (1, 2, 3, 3)).requires_grad_()
    assert torch.autograd.gradcheck(made, features)


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_inside_a_network(kind):
    """A net with a block fits better than it began, and every weight of the block has moved."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(1, 4, 3), FeatureDenoising(4, kind), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    images = Key(torch.arange(32), 0).normal("x", (1, 8, 8))
    labels = (images.mean((1, 2, 3)) > 0).long()
    before = {name: weight.detach().clone() for name, weight in net[1].named_parameters()}
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    losses = []
    for _ in range(20):
        loss = F.cross_entropy(net(images), labels)
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    assert losses[-1] < 0.7 * losses[0]
    assert all(not torch.equal(weight, before[name]) for name, weight in net[1].named_parameters())


def test_bad_input():
    with pytest.raises(ConfigError, match=r"kind='bilateral'; pass one of gaussian, dot, mean, median"):
        FeatureDenoising(4, "bilateral")
    with pytest.raises(ConfigError, match=r"FeatureDenoising channels=0; pass an int >= 1"):
        FeatureDenoising(0)
    with pytest.raises(InputError, match=r"denoises \(B, 4, H, W\), and got \(1, 3, 5, 5\)"):
        FeatureDenoising(4)(torch.zeros(1, 3, 5, 5))
