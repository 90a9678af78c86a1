"""Maxima over windows: their members are torch's, and their lines enclose them."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sparring.defenses.certification import Network
from sparring.defenses.certification.maximum import Maximum

from .conftest import values_at

POOLS = {
    "max_pool2d": lambda x: F.max_pool2d(x, 2),
    "overlapping": lambda x: F.max_pool2d(x, 3, 1, padding=1, dilation=2),
    "ceil": lambda x: F.max_pool2d(x, (2, 3), (2, 2), padding=(0, 1), ceil_mode=True),
    "adaptive": lambda x: F.adaptive_max_pool2d(x, (2, 3)),
    "amax": lambda x: x.amax((1, 3)),
    "max": lambda x: x.max(2).values,
}


class Pooled(nn.Module):
    def __init__(self, pool):
        super().__init__()
        self.pool = pool

    def forward(self, x):
        return self.pool(x).flatten(1)


@pytest.mark.parametrize("name", POOLS)
def test_linear_functions_enclose_the_maximum(name):
    torch.manual_seed(0)
    images = torch.rand(4, 2, 5, 7)
    network = Network(Pooled(POOLS[name]), images)
    maximum = next(node.operation for node in network.nodes[1:] if isinstance(node.operation, Maximum))
    values = values_at(network, network.weights(torch.float64), images.double())
    expected = POOLS[name](images.double())
    assert torch.equal(maximum.members(images.double(), -torch.inf).amax(2), expected.flatten(1))
    assert torch.equal(values[-1], expected.flatten(1))
    low = torch.randn(4, 2, 5, 7, dtype=torch.float64)
    high = low + 3 * torch.rand(4, 2, 5, 7, dtype=torch.float64) ** 3
    high[0] = low[0]
    lines = maximum.lines(low, high)
    for _ in range(200):
        share = torch.rand_like(low).round() if _ % 2 else torch.rand_like(low)
        x = low + share * (high - low)
        members, value = maximum.members(x, 0.0), POOLS[name](x).flatten(1)
        assert bool(((members * lines.lower).sum(2) + lines.lower_intercept <= value + 1e-12).all())
        assert bool(((members * lines.upper).sum(2) + lines.upper_intercept >= value - 1e-12).all())
    exact = (members * lines.upper).sum(2) + lines.upper_intercept
    assert torch.allclose(exact[0], value[0])  # points
