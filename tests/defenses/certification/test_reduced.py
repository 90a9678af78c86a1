"""The reduced network computes the same functions; tightened bounds hold; maxima are decided exactly; time is kept."""

import itertools
import time

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import nn

import sparring as sp
from sparring.attacks import FGSM
from sparring.defenses.certification import Network, Status, verify
from sparring.defenses.certification.ascent import Precisions, first_variables
from sparring.defenses.certification.concretize import InputSet
from sparring.defenses.certification.intervals import propagate_intervals
from sparring.defenses.certification.linear_bounds import relaxed_intervals
from sparring.defenses.certification.maximum import Maximum
from sparring.defenses.certification.pairwise import pairwise_maxima
from sparring.defenses.certification.reduced import reduce
from sparring.defenses.certification.tightening import tighten

from .conftest import convolutional, dense, points_of, region_of

FUNCTIONS = torch.tensor([[1.0, -1, 0], [1, 0, -1]], dtype=torch.float64)
NETS = {
    "dense": ((1, 2, 3), lambda: dense(1)),
    "tanh": ((1, 2, 3), lambda: dense(1, activation=nn.Tanh)),
    "prelu": ((1, 2, 3), lambda: dense(1, activation=nn.PReLU)),
    "max pooling": ((2, 5, 5), lambda: convolutional(1).eval()),
}


def values_in(reduced, points):
    """The neurons (N, n) and the functions (N, F) of a reduced network at points (N, ...)."""
    x, units, neurons = points.flatten(1), points.new_zeros(len(points), 0), []
    for layer in reduced.layers:
        z = torch.cat((units, x), 1) @ layer.matrix.T + layer.bias
        neurons.append(z)
        units = torch.cat((units, *(activation(z) for activation, _ in layer.units)), 1)
    return torch.cat(neurons, 1), torch.cat((units, x), 1) @ reduced.matrix.T + reduced.bias


@pytest.mark.parametrize("ball", [sp.Linf(0.15), sp.L2(0.4), sp.L1(0.8)], ids=str)
@pytest.mark.parametrize("name", NETS)
def test_functions_are_kept_and_tightened_bounds_hold_where_they_must(name, ball):
    torch.manual_seed(0)
    shape, make = NETS[name]
    image, net = torch.rand(1, *shape, dtype=torch.float64), make()
    network, numbers = pairwise_maxima(Network(net, image))
    assert not any(isinstance(node.operation, Maximum) for node in network.nodes)
    assert len(numbers) <= len(network)
    weights = {key: value.detach() for key, value in network.weights(torch.float64).items()}
    region = region_of(image, ball)
    inputs = InputSet.of(region, torch.float64)
    points = points_of(region, 1, 900)[:, 0]
    with torch.no_grad():
        intervals = relaxed_intervals(network, weights, inputs)
        reduced = reduce(network, weights, inputs, intervals, FUNCTIONS, 100.0, 3)
        neurons, functions = values_in(reduced, points)
        assert torch.allclose(functions, net(points) @ FUNCTIONS.T, atol=1e-9)
        assert bool((neurons >= reduced.low - 1e-9).all())
        assert bool((neurons <= reduced.high + 1e-9).all())
        low, high = reduced.low[None], reduced.high[None]
        everything = torch.ones_like(low[0], dtype=torch.bool)
        both, one = torch.zeros(1, 2), torch.tensor([[0.0, -torch.inf]])
        for shares, limited in ((both, functions.amax(1)), (one, functions[:, 0])):
            limit = float(limited.quantile(0.2))
            for bound, kept in ((None, torch.ones(len(points), dtype=torch.bool)), (limit, limited <= limit)):
                start = first_variables(reduced, low, high, shares)
                narrow = tighten(Precisions.of(reduced), low, high, start, everything, limit=bound, memory=10.0)
                assert bool((neurons[kept] >= narrow[0] - 1e-9).all())
                assert bool((neurons[kept] <= narrow[1] + 1e-9).all())
                assert float((narrow[1] - narrow[0]).sum()) < float((high - low).sum()) - 1e-6


def least_with_maxima(first, last, image, eps):
    """The least margin of linear, maximum of threes, linear in a box: a linear program for each choice of maxima."""
    (a, b), (c, d) = (((one.weight.detach().numpy(), one.bias.detach().numpy())) for one in (first, last))
    x = image.flatten().numpy()
    bounds = [*zip(np.maximum(x - eps, 0), np.minimum(x + eps, 1), strict=True)]
    found = np.inf
    for chosen in itertools.product(range(3), repeat=len(a) // 3):
        at = np.arange(len(chosen)) * 3 + chosen
        others = [(3 * group + k, at[group]) for group in range(len(chosen)) for k in range(3) if k != chosen[group]]
        rows, right = [a[k] - a[own] for k, own in others], [b[own] - b[k] for k, own in others]
        row = c[0] - c[1]
        solved = linprog(row @ a[at], A_ub=np.array(rows), b_ub=right, bounds=bounds)
        if solved.status == 0:
            found = min(found, solved.fun + row @ b[at] + d[0] - d[1])
    return found


class Threes(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 9).double(), nn.Linear(3, 2).double()

    def forward(self, x):
        return self.last(self.first(x.flatten(1)).view(-1, 3, 3).amax(2))


@pytest.mark.parametrize("seed", range(3))
def test_networks_with_maxima_are_decided_exactly(seed):
    torch.manual_seed(seed)
    net, image, ball = Threes(), torch.rand(1, 1, 2, 3, dtype=torch.float64), sp.Linf(0.4)
    least = least_with_maxima(net.first, net.last, image, 0.4)
    goal, weak = sp.Misclassify(torch.tensor([0])), FGSM(ball)
    for shift, status in ((1e-3 - least, Status.PROVEN), (-2e-3, Status.BROKEN)):
        with torch.no_grad():
            net.last.bias[0] += shift
        found = verify(net, goal, image, ball, attack=weak, timeout=120)
        assert found.status == (status,)
        assert float(found.lower) <= 1e-3 + 1e-9
    assert int(net(found.examples).argmax()) == 1


def test_what_is_known_when_time_is_up_is_returned():
    image = torch.rand(2, 2, 5, 5, dtype=torch.float64)
    network = Network(convolutional(0).eval(), image)
    weights, inputs = network.weights(torch.float64), InputSet.of(region_of(image, sp.Linf(0.1)), torch.float64)
    with torch.no_grad():
        late = relaxed_intervals(network, weights, inputs, stop=time.monotonic() - 1)
        for one, other in zip(late, propagate_intervals(network, weights, inputs), strict=True):
            assert torch.equal(one.low, other.low)
        one = inputs.take(torch.tensor([0]))
        intervals = relaxed_intervals(network, weights, one)
        assert reduce(network, weights, one, intervals, FUNCTIONS, 100.0, 9, time.monotonic() - 1) is None
        assert reduce(network, weights, one, intervals, FUNCTIONS, 1e-3, 9) is None  # memory
