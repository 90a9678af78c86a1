"""A network in one region, reduced to the neurons that are not linear there.

    z_l = W_l (h_1, ..., h_{l-1}, x) + b_l        the inputs of the activations of layer l, as far as they cross a kink
    h_l = f_l(z_l)
    y   = W (h_1, ..., h_m, x) + b                the functions that are to be bounded

All others are linear in the region, and merged into the matrices. So a bound costs a few matrix products whose size is
that of what is undecided, whatever operations the network is made of.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from .activations import Activation, Lines, Slopes
from .concretize import InputSet
from .graph import Network, Weights
from .intervals import Interval
from .linear_bounds import Coefficients, components, dense, relax, through_lines


@dataclass(frozen=True)
class Layer:
    """The neurons of one node that are not linear in the region.

    Args:
        neurons: where they lie among all neurons.
        units: the activations that take them, each with the place of its results among all units.
        blocks: how many activations of earlier layers there are.
        matrix: (n, earlier units + inputs); bias: (n,).
    """

    neurons: slice
    units: tuple[tuple[Activation, slice], ...]
    blocks: int
    matrix: Tensor
    bias: Tensor


class ReducedBound(NamedTuple):
    """Linear functions of the flattened input below others, <coefficients (D, n), x> + offset (D,), and minima (D,)."""

    least: Tensor
    coefficients: Tensor
    offset: Tensor


@dataclass(frozen=True)
class Relaxation:
    """Between which lines the units lie, one relaxation a row, and the multipliers of the neurons' bounds.

    Args:
        low, high: (D or 1, N) of the neurons.
        lower, upper: (D or 1, M) slopes of the units' lines.
        multipliers: (D, 2, N), not negative, of z >= low and z <= high; None: none.
    """

    low: Tensor
    high: Tensor
    lower: Tensor
    upper: Tensor
    multipliers: Tensor | None = None


@dataclass(frozen=True)
class ReducedNetwork:
    """See above.

    Args:
        inputs: the one set of inputs.
        layers: in the order of the network.
        matrix, bias: (F, units + inputs), (F,) of the functions.
        low, high: (N,) the bounds of the neurons in the region.
    """

    inputs: InputSet
    layers: tuple[Layer, ...]
    matrix: Tensor
    bias: Tensor
    low: Tensor
    high: Tensor

    @property
    def neurons(self) -> int:
        """How many neurons there are."""
        return len(self.low)

    @property
    def units(self) -> int:
        """How many results of activations there are."""
        return self.matrix.shape[1] - self.inputs.x.numel()

    @property
    def pieces(self) -> bool:
        """Are all activations piecewise linear?"""
        return all(activation.pieces for layer in self.layers for activation, _ in layer.units)

    def to(self, dtype: torch.dtype) -> ReducedNetwork:
        """Return the network in another precision."""
        layers = tuple(replace(one, matrix=one.matrix.to(dtype), bias=one.bias.to(dtype)) for one in self.layers)
        given = (one.to(dtype) for one in (self.matrix, self.bias, self.low, self.high))
        return ReducedNetwork(self.inputs.to(dtype), layers, *given)

    def within(self, low: Tensor, high: Tensor) -> ReducedNetwork:
        """Return the network with other bounds (N,) of its neurons that hold in the region."""
        return replace(self, low=low.to(self.low.dtype), high=high.to(self.low.dtype))

    def functions(self, layer: Layer) -> tuple[Tensor, Tensor]:
        """Return the neurons of a layer as functions (n, units + inputs), (n,) of all units and the input."""
        n = self.inputs.x.numel()
        before = layer.matrix.shape[1] - n
        zeros = layer.matrix.new_zeros(len(layer.matrix), self.units - before)
        return torch.cat((layer.matrix[:, :before], zeros, layer.matrix[:, before:]), 1), layer.bias

    def slopes(self, low: Tensor, high: Tensor) -> Slopes:
        """Return the slopes (D, M) that each activation chooses for neurons between low and high (D, N)."""
        lower, upper = (low.new_zeros(len(low), self.units) for _ in range(2))
        for layer in self.layers:
            for activation, units in layer.units:
                chosen = activation.slopes(low[:, layer.neurons], high[:, layer.neurons])
                lower[:, units], upper[:, units] = chosen
        return Slopes(lower, upper)

    def lines(self, layer: Layer, number: int, given: Relaxation) -> Lines:
        """Return the lines (D, n) of one of a layer's activations."""
        activation, units = layer.units[number]
        slopes = Slopes(given.lower[:, units], given.upper[:, units])
        return activation.lines(slopes, given.low[:, layer.neurons], given.high[:, layer.neurons])

    def crossing(self, low: Tensor, high: Tensor) -> Tensor:
        """Tell (D, N) which neurons are not linear between low and high (D, N)."""
        found = torch.zeros_like(low, dtype=torch.bool)
        for layer in self.layers:
            one, other = low[:, layer.neurons], high[:, layer.neurons]
            for activation, _ in layer.units:
                crosses = activation.crosses(one, other)
                if not activation.pieces:  # an interval this small is a point to rounding
                    crosses = crosses & (other - one > 1e-6 * (1 + one.abs() + other.abs()))
                found[:, layer.neurons] |= crosses
        return found

    def narrowed(self, low: Tensor, high: Tensor) -> Tensor:
        """Tell (D, 2, N) which bounds (D, N) of neurons are narrower than those of the region."""
        return torch.stack((low > self.low, high < self.high), 1)

    def bound(
        self,
        coefficients: Tensor,
        offset: Tensor,
        given: Relaxation,
        depth: int | None = None,
        seen: dict[int, Tensor] | None = None,
    ) -> ReducedBound:
        """Return lower bounds of <coefficients (D, units + inputs), (h, x)> + offset (D,).

        Results of other than the first `depth` layers have no part in it.

        `seen` receives the coefficients (D, n) of the results of each activation, by the first of their units.
        """
        n = self.inputs.x.numel()
        sizes = [units.stop - units.start for layer in self.layers for _, units in layer.units]
        parts = list(torch.split(coefficients, [*sizes, n], 1))
        for layer in reversed(self.layers[:depth]):
            taken: list[Tensor] = []
            for number, (_, units) in enumerate(layer.units):
                a, lines = parts[layer.blocks + number], self.lines(layer, number, given)
                if seen is not None:
                    seen[units.start] = a
                up = a > 0
                taken.append(a * torch.where(up, lines.lower_slope, lines.upper_slope))
                offset = offset + (a * torch.where(up, lines.lower_intercept, lines.upper_intercept)).sum(1)
            at = sum(taken[1:], taken[0])
            if given.multipliers is not None:
                above, below = given.multipliers[:, :, layer.neurons].unbind(1)
                low, high = given.low[:, layer.neurons], given.high[:, layer.neurons]
                at, offset = at + (below - above), offset + (above * low - below * high).sum(1)
            gained = torch.split(at @ layer.matrix, [*sizes[: layer.blocks], n], 1)
            offset = offset + at @ layer.bias
            for place, one in zip([*range(layer.blocks), -1], gained, strict=True):
                parts[place] = parts[place] + one
        least = self.inputs.least(parts[-1].view(1, -1, *self.inputs.x.shape[1:]))[0]
        return ReducedBound(least + offset, parts[-1], offset)


@torch.no_grad()
def reduce(
    network: Network,
    weights: Weights,
    inputs: InputSet,
    intervals: list[Interval],
    functions: Tensor,
    memory: float,
    count: int,
    stop: float = math.inf,
) -> ReducedNetwork | None:
    """Return the reduced network of one input; None where its matrices would take more than `memory` MB, or time is up.

    Args:
        functions: (F, K) of the logits.
        count: rows that are found at a time.
        stop: what the clock (time.monotonic) shows when time is up.
    """
    kept = {number: _crossing(network, number, intervals[number]) for number in network.bounded}
    kept = {number: places for number, places in kept.items() if len(places)}
    users = {number: [k for k, node in enumerate(network.nodes) if number in node.operands] for number in kept}
    users = {number: [k for k in found if not network.nodes[k].affine] for number, found in users.items()}
    units: dict[int, slice] = {}
    total = 0
    for number, found in users.items():
        for user in found:
            units[user] = slice(total, total + len(kept[number]))
            total += len(kept[number])
    n, neurons = inputs.x.numel(), sum(map(len, kept.values()))
    if inputs.x.element_size() * (total + n) * (neurons + len(functions)) > memory * 2**20:
        return None
    relaxed = relax(network, weights, inputs, intervals)

    def linear(start: int, wanted: Coefficients, before: int) -> tuple[Tensor, Tensor]:
        """Functions (1, S, ...) of a node as ones (S, earlier units + inputs), (S,) of the units and the input."""
        matrix = inputs.x.new_zeros(wanted.shape[1], before + n)

        def recorded(number: int, a: Coefficients) -> tuple[Coefficients, Tensor]:
            places = kept.get(network.nodes[number].operands[0])
            lines = relaxed.lines(number)
            if places is not None:
                own = torch.ones_like(lines.lower_slope.flatten(), dtype=torch.bool).index_fill(0, places, False)
                own = own.view_as(lines.lower_slope)
                lines = Lines(*(torch.where(own, one, 0.0) for one in lines))
                matrix[:, units[number]] += dense(a).flatten(2)[0][:, places]
            return through_lines(a, lines)

        a, offset = relaxed.backward(start, wanted, recorded)
        matrix[:, before:] = a.flatten(2)[0]
        return matrix, offset[0]

    layers: list[Layer] = []
    reached = blocks = 0
    lows, highs = [inputs.x.new_zeros(0)], [inputs.x.new_zeros(0)]
    for number, places in kept.items():
        before = min((units[user].start for user in users[number]), default=0)
        parts = []
        for part in torch.split(places, count):
            if time.monotonic() > stop:
                return None
            parts.append(linear(number, components(part[None], intervals[number].low), before))
        taken = []
        for user in users[number]:
            operation = network.nodes[user].operation
            assert isinstance(operation, Activation)
            taken.append((operation, units[user]))
        matrix, bias = (torch.cat([part[side] for part in parts]) for side in (0, 1))
        layers.append(Layer(slice(reached, reached + len(places)), tuple(taken), blocks, matrix, bias))
        reached, blocks = reached + len(places), blocks + len(taken)
        lows.append(intervals[number].low.flatten()[places])
        highs.append(intervals[number].high.flatten()[places])
    matrix, bias = linear(len(network) - 1, functions[None], total)
    return ReducedNetwork(inputs, tuple(layers), matrix, bias, torch.cat(lows), torch.cat(highs))


def _crossing(network: Network, number: int, interval: Interval) -> Tensor:
    """The components (n,) of a node that some activation is not linear in."""
    crosses = torch.zeros_like(interval.low, dtype=torch.bool)
    for node in network.nodes:
        if number in node.operands and isinstance(node.operation, Activation):
            crosses = crosses | node.operation.crosses(*interval)
    return crosses.flatten().nonzero().squeeze(1)
