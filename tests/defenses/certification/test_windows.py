"""Windows give the bounds that dense coefficients give."""

import pytest
import torch
from torch import nn

import sparring as sp
from sparring.defenses.certification import Network, linear_bounds, windows
from sparring.defenses.certification.concretize import InputSet
from sparring.defenses.certification.linear_bounds import relaxed_intervals

from .conftest import region_of


class Residual(nn.Module):
    """Branches with windows of several sizes that are added, scaled and shifted."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=2)
        self.norm = nn.BatchNorm2d(4)
        self.side = nn.Conv2d(4, 4, (1, 3), padding=(0, 1), bias=False)
        self.shift = nn.Parameter(torch.randn(4, 1, 1))
        self.down = nn.Conv2d(4, 3, 4, stride=(2, 3), padding=1)
        self.skip = nn.Conv2d(4, 3, 2, stride=(2, 3))

    def forward(self, x):
        y = torch.relu(self.norm(self.inner(x)) * self.shift - self.side(x) + x)
        return torch.relu(self.down(y) + self.skip(y)) + 0.5 * self.down(x)


def one_hot(places, like):
    """The functions that are single components, dense."""
    return nn.functional.one_hot(places, like[0].numel()).to(like).view(*places.shape, *like.shape[1:])


NETS = {
    "2d": (
        (2, 14, 13),
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.ReLU(), Residual(), nn.ReLU(), nn.Conv2d(3, 2, 2, padding=1), nn.ReLU()
        ),
    ),
    "1d": ((2, 30), lambda: nn.Sequential(nn.Conv1d(2, 3, 5, stride=2), nn.Tanh(), nn.Conv1d(3, 4, 3), nn.ReLU())),
    "transposed": (
        (2, 9, 9),
        lambda: nn.Sequential(
            nn.Conv2d(2, 3, 3), nn.ReLU(), nn.ConvTranspose2d(3, 2, 3), nn.Conv2d(2, 2, 2), nn.ReLU()
        ),
    ),
}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("ball", [sp.Linf(0.1), sp.L2(0.5)], ids=str)
def test_windows_give_the_bounds_of_dense_coefficients(name, ball, monkeypatch):
    torch.manual_seed(0)
    shape, make = NETS[name]
    images = torch.rand(2, *shape, dtype=torch.float64)
    net = make().double().eval()
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_var.uniform_(0.5, 2)
            layer.weight.data.uniform_(-2, 2)
    whole = nn.Sequential(net, nn.Flatten())
    network = Network(whole, images)
    weights = network.weights(torch.float64)
    inputs = InputSet.of(region_of(images, ball), torch.float64)
    seen = []
    dense = windows.Windows.dense
    monkeypatch.setattr(windows.Windows, "dense", lambda self: seen.append(self.size) or dense(self))
    with torch.no_grad():
        small = relaxed_intervals(network, weights, inputs)
        assert any(min(size) > 1 for size in seen)  # windows went through convolutions
        monkeypatch.setattr(linear_bounds, "components", one_hot)
        large = relaxed_intervals(network, weights, inputs)
    for one, other in zip(small, large, strict=True):
        assert torch.allclose(one.low, other.low, atol=1e-12)
        assert torch.allclose(one.high, other.high, atol=1e-12)
