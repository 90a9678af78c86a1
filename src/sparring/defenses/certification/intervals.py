"""Interval bound propagation (Gowal et al. 2018, arXiv:1810.12715): bounds of every node from those of its operands.

    affine      centre W c + b, radius |W| r
    activation  the range of f on [l, u]
    maximum     the maxima of both bounds

In L2 and L1 balls, whose bounding boxes are much larger than they are, what is still affine in the input is bounded by
the dual norm too, |w|_2 eps (an L1 ball lies within the L2 ball of its radius).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .activations import Activation
from .affine import Affine, Weighted
from .concretize import InputSet
from .graph import Network, Reach, Weights
from .maximum import Maximum


class Interval(NamedTuple):
    """The least and the greatest value (B, ...) of each component of a node."""

    low: Tensor
    high: Tensor

    def within(self, other: Interval) -> Interval:
        """Return the intersection with another interval; where rounding leaves none, a point."""
        low = torch.maximum(self.low, other.low)
        return Interval(low, torch.maximum(torch.minimum(self.high, other.high), low))


class Propagation:
    """Intervals of a network's nodes for one set of inputs, node by node."""

    def __init__(self, network: Network, weights: Weights, inputs: InputSet) -> None:
        self.network, self.weights, self.inputs = network, weights, inputs
        self.intervals: list[Interval] = [Interval(inputs.low, inputs.high)]
        self._squares: list[Tensor | None] = [None if inputs.is_box else torch.ones_like(inputs.x[:1])]
        self._centres: list[Tensor | None] = [None if inputs.is_box else inputs.x]

    def next(self) -> Interval:
        """Return the interval of the first node that has none yet; `keep` stores it, or a narrower one."""
        number = len(self.intervals)
        node = self.network.nodes[number]
        operands = [self.intervals[one] for one in node.operands]
        if isinstance(node.operation, Affine):
            return self._affine(number, node.operation, operands)
        if isinstance(node.operation, Activation):
            return Interval(*node.operation.interval(*operands[0]))
        assert isinstance(node.operation, Maximum)
        return Interval(node.operation(operands[0].low), node.operation(operands[0].high))

    def keep(self, interval: Interval) -> None:
        """Store the interval of the next node."""
        self.intervals.append(interval)
        if len(self._squares) < len(self.intervals):
            self._squares.append(None)
            self._centres.append(None)

    def _affine(self, number: int, operation: Affine, operands: list[Interval]) -> Interval:
        node = self.network.nodes[number]
        constants = self.network.constants_of(node, self.weights)
        if type(operation) is Affine:  # no coefficient is negative
            lows, highs = zip(*operands, strict=True)
            found = Interval(operation.apply(lows, constants), operation.apply(highs, constants))
        elif isinstance(operation, Weighted):
            found = Interval(*operation.interval(*operands[0], constants))
        else:
            centre = operation.apply([(one.low + one.high) / 2 for one in operands], constants)
            radius = operation.spread([(one.high - one.low) / 2 for one in operands], constants)
            found = Interval(centre - radius, centre + radius)
        if self.network.reach[number] is Reach.MIXED or self.inputs.is_box:
            return found
        squares, centres = self._squares[node.operands[0]], self._centres[node.operands[0]]
        assert squares is not None
        assert centres is not None
        squares, centre = operation.spread_squares([squares], constants), operation.apply([centres], constants)
        self._squares.append(squares)
        self._centres.append(centre)
        reach = self.inputs.eps.view(-1, *[1] * (squares.ndim - 1)) * squares.clamp(min=0).sqrt()
        return found.within(Interval(centre - reach, centre + reach))


def propagate_intervals(network: Network, weights: Weights, inputs: InputSet) -> list[Interval]:
    """Return the interval of every node; differentiable with respect to the weights."""
    propagation = Propagation(network, weights, inputs)
    while len(propagation.intervals) < len(network):
        propagation.keep(propagation.next())
    return propagation.intervals
