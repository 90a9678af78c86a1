import pytest
import torch
from torch import nn

import sparring as sp
from sparring.defenses.detection.activations import (
    activations,
    default_layers,
    flatten_units,
    last_linear,
    modified_layer_input,
    select_layers,
    spatial_mean,
    unreduced,
)
from sparring.errors import ConfigError, UserCodeError


class Broken(nn.Module):
    def forward(self, x):
        raise ZeroDivisionError("planted failure")


def hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_hooks_are_gone_also_after_an_exception():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), Broken(), nn.Flatten(), nn.Linear(8, 2))
    target, images = sp.Classifier(model), torch.rand(2, 1, 4, 4)
    for ask in (
        lambda: activations(target, images, ("0", "1"), flatten_units),
        lambda: default_layers(target, images),
        lambda: select_layers(target, ("0",), images),
        lambda: last_linear(target, images),
    ):
        with pytest.raises(UserCodeError):
            ask()
        assert hooks(model) == 0
    with pytest.raises(UserCodeError), modified_layer_input(target, "4", lambda x: x):
        target(images)
    assert hooks(model) == 0


def test_what_a_later_layer_does_in_place_is_not_read_as_the_earlier_one():
    torch.manual_seed(0)  # some values are below zero
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(8, 2))
    target, images = sp.Classifier(model), torch.rand(2, 1, 4, 4)
    for reduce in (flatten_units, unreduced, spatial_mean):
        _, (before, after) = activations(target, images, ("0", "1"), reduce)
        with torch.no_grad():
            expected = reduce(model[0](images))
        torch.testing.assert_close(before.detach(), expected)
        assert not torch.equal(before, after)


def test_reductions():
    maps = torch.arange(24.0).view(2, 3, 2, 2)
    assert torch.equal(spatial_mean(maps), maps.mean((2, 3)))
    assert torch.equal(flatten_units(maps), maps.view(2, 12))
    assert torch.equal(spatial_mean(maps[:, :, 0, 0]), maps[:, :, 0, 0])


def test_the_last_call_of_a_layer_counts():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.act, self.last = nn.ReLU(), nn.Linear(4, 2)

        def forward(self, x):
            return self.last(self.act(-self.act(x.flatten(1) - 0.5) + 0.2))

    model = Twice()
    images = torch.rand(3, 1, 2, 2)
    _, (found,) = activations(sp.Classifier(model), images, ("act",), flatten_units)
    by_hand = torch.relu(-torch.relu(images.flatten(1) - 0.5) + 0.2)
    torch.testing.assert_close(found.detach(), by_hand)
    assert default_layers(sp.Classifier(model), images) == ("act", "last")


def test_layers_that_cannot_be_read_are_named():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.unused, self.last = nn.ReLU(), nn.Linear(4, 2)
            self.deep = nn.Unflatten(1, (2, 2))

        def forward(self, x):
            return self.last(self.deep(x.flatten(1)).flatten(1))

    target, images = sp.Classifier(Odd(), name="odd"), torch.rand(3, 1, 2, 2)
    with pytest.raises(ConfigError, match="odd does not call its layer 'unused'"):
        select_layers(target, ("unused",), images)
    with pytest.raises(ConfigError, match="layer 'deep' gives rank 3; layers of rank 2 or 4 can be read"):
        select_layers(target, ("deep",), images)
    hint = r"odd has no layer 'lst'. Did you mean 'last'\? Its layers: unused, last, deep"
    with pytest.raises(ConfigError, match=hint):
        select_layers(target, ("lst",), images)


def test_what_goes_into_a_layer_can_be_changed():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    target, images = sp.Classifier(model), torch.rand(3, 1, 2, 2)
    with modified_layer_input(target, "1", lambda x: 0 * x):
        assert torch.equal(target(images).detach(), model[1].bias.detach().expand(3, 2))
    assert last_linear(target, images) == "1"
