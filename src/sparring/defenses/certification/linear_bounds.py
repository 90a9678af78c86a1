"""Bounds by linear relaxation, backwards from linear functions of a node to the input: CROWN.

(Zhang et al. 2018, arXiv:1811.00866; for graphs Xu et al. 2020, arXiv:2002.12920.)

A function <a, h> of a node's values is rewritten, node by node, as one of earlier nodes: exactly through affine
operations, and from below through the others, whose lower line is taken where the coefficient is positive and whose
upper line where it is negative. Its least value in the region is then that of a linear function of the input. Upper
bounds are those of -<a, h>.

Bounds of the activations' inputs come from intervals (CROWN-IBP) or from the same procedure (CROWN). The dual of Wong &
Kolter (2018, arXiv:1711.00851) is the procedure with the slope u / (u - l) for the lower line of ReLU as well.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from ...errors import TargetError
from .activations import Activation, Hinge, Lines, Slopes
from .affine import Affine, Bilinear, Convolution, Sum
from .concretize import InputSet
from .graph import Network, Reach, Weights
from .intervals import Interval, Propagation
from .maximum import Maximum, MaximumLines
from .windows import Windows

MEMORY = 128.0  # MB that the coefficients of one backward pass may take, by default
SHARED = 2.0  # all inputs' components are bounded together where these are at most so many times those of one
COPIES = 6  # tensors of coefficients that are alive at once


class LinearBound(NamedTuple):
    """Linear functions of the input below others: <coefficients (B, S, ...), x> + offset (B, S), and their minima."""

    least: Tensor
    coefficients: Tensor
    offset: Tensor


Coefficients = Tensor | Windows
Nonlinear = Callable[[int, Coefficients], tuple[Coefficients | None, Tensor]]


@dataclass(frozen=True)
class Relaxed:
    """A network whose activations lie between lines, for a batch of inputs.

    Args:
        slopes: for each activation by number, what the lines' slopes are; each (B, 1 or S, ...).
        intervals: of every node that an activation or a maximum takes, by number.
    """

    network: Network
    weights: Weights
    inputs: InputSet
    intervals: Mapping[int, Interval] | list[Interval]
    slopes: Mapping[int, Slopes]

    def bound(self, start: int, coefficients: Coefficients) -> LinearBound:
        """Return lower bounds of <coefficients (B, S, ...), h> for the values h of the node `start`.

        Coefficients (1, S, ...) that all inputs share stay so back to the first activation.
        """
        return self._bounded(start, coefficients, self._relaxed)

    def bound_affinely(self, start: int, coefficients: Tensor) -> Tensor:
        """Return lower bounds (B, S) that go back to the last activations only and take their intervals there.

        This is interval propagation with the last layers merged, and needs the intervals of all nodes.
        """

        def boxed(number: int, a: Coefficients) -> tuple[None, Tensor]:
            return None, _least_in_box(dense(a), self.intervals[number])

        return self._bounded(start, coefficients, boxed).least

    def _bounded(self, start: int, coefficients: Coefficients, nonlinear: Nonlinear) -> LinearBound:
        a, offset = self._reached(start, coefficients, nonlinear)
        if a is None:
            return LinearBound(offset, self._nothing(offset), offset)
        return LinearBound(self.inputs.least(a) + offset, a, offset)

    def backward(self, start: int, coefficients: Coefficients, nonlinear: Nonlinear) -> tuple[Tensor, Tensor]:
        """Return <coefficients (B, S, ...), h> as a function of the input: coefficients (B, S, ...), offset (B, S).

        `nonlinear` takes the number of an activation or a maximum and the coefficients of its results; it returns those
        of its operand, or None, and what is added to the offset.
        """
        a, offset = self._reached(start, coefficients, nonlinear)
        return self._nothing(offset) if a is None else a, offset

    def _nothing(self, offset: Tensor) -> Tensor:
        return offset.new_zeros(()).expand(*offset.shape, *self.network.nodes[0].shape)

    def _reached(self, start: int, coefficients: Coefficients, nonlinear: Nonlinear) -> tuple[Tensor | None, Tensor]:
        """Return what `backward` does; None for coefficients of the input where nothing depends on it any more."""
        pending: dict[int, Coefficients] = {start: coefficients}
        offset = self.inputs.x.new_zeros(coefficients.shape[:2])
        for number in range(start, 0, -1):
            a = pending.pop(number, None)
            if a is None:
                continue
            node = self.network.nodes[number]
            parts: Sequence[Coefficients | None]
            if isinstance(node.operation, Affine):
                parts, gained = self._through_affine(number, node.operation, a)
            else:
                part, gained = nonlinear(number, a)
                parts = [part]
            offset = offset + gained
            for operand, one in zip(node.operands, parts, strict=True):
                if one is not None:
                    _add(pending, operand, one)
        return dense(pending[0]) if 0 in pending else None, offset

    def _relaxed(self, number: int, a: Coefficients) -> tuple[Coefficients, Tensor]:
        operation = self.network.nodes[number].operation
        if isinstance(operation, Activation):
            return through_lines(a, self.lines(number))
        assert isinstance(operation, Maximum)
        before = self._before(number)
        return _through_maximum(dense(a), operation, operation.lines(*before), before)

    def lines(self, number: int) -> Lines:
        """Return the lines of an activation, by its number."""
        operation = self.network.nodes[number].operation
        assert isinstance(operation, Activation)
        low, high = self._before(number)
        return operation.lines(self.slopes[number], low[:, None], high[:, None])

    def _before(self, number: int) -> Interval:
        return self.intervals[self.network.nodes[number].operands[0]]

    def _through_affine(
        self, number: int, operation: Affine, a: Coefficients
    ) -> tuple[tuple[Coefficients, ...], Tensor]:
        """The coefficients (B, S, ...) of each operand, and what the constant part adds (B, S)."""
        node = self.network.nodes[number]
        constants = self.network.constants_of(node, self.weights)
        shapes = [self.network.nodes[one].shape for one in node.operands]
        zeros = [self.inputs.x.new_zeros(1, *shape) for shape in shapes]
        constant = operation.offset(zeros, constants)
        if isinstance(a, Windows):
            gained = (a.values * a.gather(constant[None])).flatten(2).sum(2)
            if isinstance(operation, Convolution) and not operation.transposed:
                return (operation.transpose_windows(a, constants, shapes[0]),), gained
            if isinstance(operation, Sum) and all(shape == node.shape for shape in shapes):
                return tuple(a.scaled(a.values.new_tensor(factor)) for factor in operation.factors), gained
            if isinstance(operation, Bilinear) and operation.by_component and shapes[0] == node.shape:
                ones = [torch.ones_like(zeros[0])]
                return (a.scaled(a.gather((operation.apply(ones, constants) - constant)[None])),), gained
            a = a.dense()
        parts = operation.transpose(a.flatten(0, 1), constants, shapes)
        gained = a.flatten(2) @ constant.flatten()
        return tuple(part.reshape(*a.shape[:2], *part.shape[1:]) for part in parts), gained


def dense(a: Coefficients) -> Tensor:
    """Return the coefficients as a tensor."""
    return a.dense() if isinstance(a, Windows) else a


def _add(pending: dict[int, Coefficients], number: int, part: Coefficients) -> None:
    """Add coefficients to those that a node has already."""
    if number in pending:
        held = pending[number]
        both = isinstance(held, Windows) and isinstance(part, Windows)
        part = held.plus(part) if both else dense(held) + dense(part)  # type: ignore[union-attr, arg-type]
    pending[number] = part.dense() if isinstance(part, Windows) and part.is_large else part


def _least_in_box(a: Tensor, interval: Interval) -> Tensor:
    low, high = (bound[:, None] for bound in interval)
    return (a.clamp(min=0) * low + a.clamp(max=0) * high).flatten(2).sum(2)


def through_lines(a: Coefficients, lines: Lines) -> tuple[Coefficients, Tensor]:
    """Return coefficients (B, S, ...) of an activation's operand from those of its results, and the offset (B, S)."""
    if isinstance(a, Windows):
        lines = Lines(*(a.gather(one) for one in lines))
    values = a.values if isinstance(a, Windows) else a
    positive = values > 0
    part = values * torch.where(positive, lines.lower_slope, lines.upper_slope)
    gained = (values * torch.where(positive, lines.lower_intercept, lines.upper_intercept)).flatten(2).sum(2)
    if not isinstance(a, Windows):
        return part, gained
    return replace(a, values=part, starts=a.starts.expand(len(part), -1, -1)), gained


def _through_maximum(a: Tensor, maximum: Maximum, lines: MaximumLines, before: Interval) -> tuple[Tensor, Tensor]:
    flat = a.flatten(2)
    positive, negative = flat.clamp(min=0), flat.clamp(max=0)
    gained = (positive * lines.lower_intercept[:, None] + negative * lines.upper_intercept[:, None]).sum(2)
    members = positive[..., None] * lines.lower[:, None] + negative[..., None] * lines.upper[:, None]
    places = maximum.groups.places.to(a.device).flatten()
    part = a.new_zeros(*members.shape[:2], before.low[0].numel()).index_add(2, places, members.flatten(2))
    return part.reshape(*part.shape[:2], *before.low.shape[1:]), gained


# slopes to begin with

SlopeRule = Callable[[Activation, Interval], Slopes]


def default_slopes(activation: Activation, interval: Interval) -> Slopes:
    """Return the activation's own choice of slopes: for ReLU DeepPoly's."""
    return activation.slopes(*interval)


def dual_slopes(activation: Activation, interval: Interval) -> Slopes:
    """Return the slopes of Wong & Kolter: the chord's for both lines.

    Raises:
        TargetError: an activation other than ReLU, for which this dual is not known.
    """
    if not isinstance(activation, Hinge) or activation.slope != 0:
        raise TargetError("Wong and Kolter's dual is that of ReLU networks; use method='crown'")
    upper = activation.slopes(*interval).upper
    return Slopes(upper, upper)


def relax(
    network: Network,
    weights: Weights,
    inputs: InputSet,
    intervals: list[Interval],
    rule: SlopeRule = default_slopes,
    stop: int | None = None,
) -> Relaxed:
    """Return the relaxed network whose lines have the slopes of `rule`, up to the node `stop`."""
    slopes: dict[int, Slopes] = {}
    for number, node in enumerate(network.nodes[:stop]):
        if isinstance(node.operation, Activation):
            chosen = rule(node.operation, intervals[node.operands[0]])
            slopes[number] = Slopes(chosen.lower[:, None], chosen.upper[:, None])
    return Relaxed(network, weights, inputs, intervals, slopes)


# bounds of all nodes

Bounder = Callable[[Relaxed, int, Coefficients], Tensor]


def lower_bounds(relaxed: Relaxed, start: int, coefficients: Coefficients) -> Tensor:
    """Return the lower bounds (B, S) of one backward pass."""
    return relaxed.bound(start, coefficients).least


def relaxed_intervals(
    network: Network,
    weights: Weights,
    inputs: InputSet,
    rule: SlopeRule = default_slopes,
    bounder: Bounder = lower_bounds,
    memory: float = MEMORY,
    with_gradients: bool = False,
    stop: float = math.inf,
) -> list[Interval]:
    """Return intervals of all nodes; those that activations take are bounded backwards, and intersected with IBP's.

    Args:
        bounder: gives the lower bounds of linear functions of a node.
        memory: MB that the coefficients of one pass may take; components are bounded in portions that fit.
        with_gradients: the bounder keeps the coefficients of all nodes.
        stop: when the clock (time.monotonic) shows it, what is not bounded yet keeps the intervals that it has.
    """
    propagation = Propagation(network, weights, inputs)
    slopes: dict[int, Slopes] = {}
    while len(propagation.intervals) < len(network):
        number = len(propagation.intervals)
        interval = propagation.next()
        node = network.nodes[number]
        if isinstance(node.operation, Activation):
            chosen = rule(node.operation, propagation.intervals[node.operands[0]])
            slopes[number] = Slopes(chosen.lower[:, None], chosen.upper[:, None])
        exact = inputs.is_box and network.reach[number] is not Reach.MIXED
        if number in network.bounded and not exact:
            wanted = _wanted(network, number, interval)
            if rule is dual_slopes:  # the paper's bounds are those of the dual alone
                wanted, interval = (
                    torch.ones_like(wanted),
                    Interval(interval.low - torch.inf, interval.high + torch.inf),
                )
            relaxed = Relaxed(network, weights, inputs, propagation.intervals, slopes)
            count = portion(network, inputs, memory, with_gradients)
            interval = _narrowed(relaxed, number, interval, wanted, bounder, count, stop)
        propagation.keep(interval)
    return propagation.intervals


def _wanted(network: Network, number: int, interval: Interval) -> Tensor:
    """Which components (B, n) of a node some activation is not linear in."""
    wanted = torch.zeros_like(interval.low, dtype=torch.bool)
    for node in network.nodes:
        if number in node.operands and isinstance(node.operation, Activation):
            wanted = wanted | node.operation.crosses(*interval)
        elif number in node.operands and isinstance(node.operation, Maximum):
            wanted = wanted | (interval.high > interval.low)
    return wanted.flatten(1)


def _narrowed(
    relaxed: Relaxed, number: int, interval: Interval, wanted: Tensor, bounder: Bounder, count: int, stop: float
) -> Interval:
    """The interval, narrowed by backward bounds of the wanted components (B, n), `count` of each row at a time."""
    low, high = (bound.flatten(1) for bound in interval)
    most, together = int(wanted.sum(1).max()), int(wanted.any(0).sum())
    if most == 0:
        return interval
    bounded = wanted
    if len(low) > 1 and together <= SHARED * most:  # the same components for all, whose way back begins alike
        bounded, most = wanted.any(0, keepdim=True), together
    chosen = bounded.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :most]
    lows, highs = [], []
    for places in torch.split(chosen, count, dim=1):
        if time.monotonic() > stop:
            break
        one = components(places, interval.low)
        lows.append(bounder(relaxed, number, one))
        highs.append(-bounder(relaxed, number, -one))
    if not lows:
        return interval
    chosen = chosen[:, : len(lows) * count].expand(len(low), -1)
    new_low = torch.full_like(low, -torch.inf).scatter(1, chosen, torch.cat(lows, 1))
    new_high = torch.full_like(high, torch.inf).scatter(1, chosen, torch.cat(highs, 1))
    low = torch.where(wanted, torch.maximum(low, new_low), low)  # what others in the batch want is not taken
    high = torch.where(wanted, torch.minimum(high, new_high), high)
    found = Interval(low.view_as(interval.low), high.view_as(interval.high))
    return found.within(found)


def components(places: Tensor, like: Tensor) -> Coefficients:
    """Return the functions that are single components (B or 1, S) of a node with values (B, ...)."""
    shape = like.shape[1:]
    if len(shape) > 1:
        return Windows.at(places, like, shape)
    return like.new_zeros(*places.shape, *shape).scatter_(2, places[..., None], 1.0)


def portion(network: Network, inputs: InputSet, memory: float, with_gradients: bool = False) -> int:
    """Return how many linear functions per input a pass may bound at once within `memory` MB.

    A pass keeps coefficients of the widest node; with gradients, or where the weights require some, those of all.
    """
    sizes = [torch.Size(node.shape).numel() for node in network.nodes]
    components = sum(sizes) if with_gradients or torch.is_grad_enabled() else max(sizes)
    size = inputs.x.element_size() * COPIES * components * len(inputs)
    return max(1, int(memory * 2**20 / size))


def in_portions(
    bounder: Bounder, relaxed: Relaxed, start: int, coefficients: Tensor, memory: float, with_gradients: bool = False
) -> Tensor:
    """Return lower bounds (B, S) of linear functions of a node, as many at a time as fit into `memory` MB."""
    count = portion(relaxed.network, relaxed.inputs, memory, with_gradients)
    return torch.cat([bounder(relaxed, start, part) for part in torch.split(coefficients, count, dim=1)], dim=1)
