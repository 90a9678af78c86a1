"""Activations, and the lines between which they lie on an interval.

    lower_slope x + lower_intercept  <=  f(x)  <=  upper_slope x + upper_intercept       for x in [l, u]

Any slope k has its best intercepts: the extremes of f(x) - k x on [l, u], which lie at l, at u, at a kink of f, or
where f'(x) = k. Between its inflections f' is monotone, so that such a point is found by bisection. So lines are sound
whatever their slopes are, and slopes can be optimised freely. The slopes to begin with are those, among the chords and
some tangents, whose lines lie closest to f at the middle of the interval: for ReLU the chord above, and 0 or 1 below
(Zhang et al. 2018, arXiv:1811.00866; Singh et al. 2019, DeepPoly).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

BISECTIONS = 26  # the point where f' = k, to 1.5e-8 of the interval's width w: f(x) - k x is right to 1e-16 f'' w^2
TRIED = 7  # places of tangents, and of ends of chords, that are tried

Curve = Callable[[Tensor], Tensor]


class Lines(NamedTuple):
    """Two lines for each neuron, below and above the activation: slopes and intercepts that broadcast."""

    lower_slope: Tensor
    lower_intercept: Tensor
    upper_slope: Tensor
    upper_intercept: Tensor


class Slopes(NamedTuple):
    """The slopes of the lines below and above."""

    lower: Tensor
    upper: Tensor


@dataclass(frozen=True)
class Activation:
    """A function of each component.

    Args:
        function, derivative: f and f'.
        kinks: where f' jumps.
        inflections: where f' turns from rising to falling or back; between two of them f' is monotone.
        monotone: f never falls.
        pieces: f is linear between its kinks, so that it is exact on an interval without one.
    """

    function: Curve
    derivative: Curve
    kinks: tuple[float, ...] = ()
    inflections: tuple[float, ...] = ()
    monotone: bool = True
    pieces: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        """Return f(x)."""
        return self.function(x)

    def interval(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Return the least and the greatest value of f on [low, high]."""
        if self.monotone:
            return self.function(low), self.function(high)
        flat = torch.zeros_like(low)
        return self._intercepts(low, high, flat, lower=True), self._intercepts(low, high, flat, lower=False)

    def crosses(self, low: Tensor, high: Tensor) -> Tensor:
        """Tell where f is not linear on [low, high]."""
        if not self.pieces:
            return high > low
        return torch.stack([(low < kink) & (kink < high) for kink in self.kinks]).any(0)

    def branch_point(self, low: Tensor, high: Tensor) -> Tensor:
        """Return where to split [low, high]: at a kink within it, else in the middle."""
        point = (low + high) / 2
        for kink in self.kinks:
            point = torch.where((low < kink) & (kink < high), kink, point)
        return point

    def slopes(self, low: Tensor, high: Tensor) -> Slopes:
        """Return the slopes to begin with."""
        middle, chord = (low + high) / 2, self._chord(low, high)
        candidates = [chord]
        if not self.pieces:
            places = [low + share * (high - low) for share in torch.linspace(0, 1, TRIED).tolist()]
            candidates += [self.derivative(place) for place in places]
            candidates += [self._chord(low, place) for place in places[1:-1]]
            candidates += [self._chord(place, high) for place in places[1:-1]]
        for kink in self.kinks:
            inside = low.clamp(min=kink).minimum(high)
            candidates += [self._chord(low, inside), self._chord(inside, high)]
        tried = torch.stack(candidates)
        below = tried * middle + self._intercepts(low, high, tried, lower=True)
        above = tried * middle + self._intercepts(low, high, tried, lower=False)
        best_below, best_above = below.argmax(0, keepdim=True), above.argmin(0, keepdim=True)
        return Slopes(tried.gather(0, best_below)[0], tried.gather(0, best_above)[0])

    def restrict(self, slopes: Slopes, low: Tensor, high: Tensor) -> Slopes:
        """Return the slopes that may be used: where f is linear its own."""
        if not self.pieces:
            return slopes
        crosses, own = self.crosses(low, high), self._chord(low, high)
        return Slopes(torch.where(crosses, slopes.lower, own), torch.where(crosses, slopes.upper, own))

    def lines(self, slopes: Slopes, low: Tensor, high: Tensor) -> Lines:
        """Return lines of these slopes, as far as they may be used, which hold on [low, high]; all broadcast."""
        slopes = self.restrict(slopes, low, high)
        return Lines(
            slopes.lower,
            self._intercepts(low, high, slopes.lower, lower=True),
            slopes.upper,
            self._intercepts(low, high, slopes.upper, lower=False),
        )

    def _chord(self, low: Tensor, high: Tensor) -> Tensor:
        """The slope of f between low and high; f' where they are equal, to rounding."""
        width = high - low
        wide = width > 1e-9 * (1 + low.abs() + high.abs())
        chord = (self.function(high) - self.function(low)) / torch.where(wide, width, 1)
        return torch.where(wide, chord, self.derivative((low + high) / 2))

    def _intercepts(self, low: Tensor, high: Tensor, slope: Tensor, lower: bool) -> Tensor:
        """The least (or greatest) value of f(x) - slope x on [low, high]."""
        best = torch.minimum if lower else torch.maximum
        value = best(self.function(low) - slope * low, self.function(high) - slope * high)
        for kink in self.kinks:
            at = torch.full_like(low, kink).clamp(low, high)
            value = best(value, self.function(at) - slope * at)
        if self.pieces:
            return value
        ends = (-math.inf, *self.inflections, math.inf)
        for start, stop in pairwise(ends):
            for at in self._tangent_points(low, high, slope.detach(), start, stop):
                value = best(value, self.function(at) - slope * at)
        return value

    @torch.no_grad()
    def _tangent_points(
        self, low: Tensor, high: Tensor, slope: Tensor, start: float, stop: float
    ) -> tuple[Tensor, Tensor]:
        """Two points that enclose the one in [low, high] and [start, stop] where f' = slope; its ends if none is."""
        left, right = low.clamp(start, stop), high.clamp(start, stop)
        left, right = torch.maximum(left, low), torch.minimum(right, high)  # an interval beyond the segment: a point
        right = torch.maximum(left, right)
        rising = self.derivative(right) >= self.derivative(left)
        for _ in range(BISECTIONS):
            middle = (left + right) / 2
            beyond = (self.derivative(middle) > slope) == rising
            left, right = torch.where(beyond, left, middle), torch.where(beyond, middle, right)
        return left.clamp(low, high), right.clamp(low, high)


@dataclass(frozen=True)
class Hinge(Activation):
    """x above 0 and `slope` x below it, with a slope in [0, 1]: ReLU, leaky ReLU."""

    slope: float = 0.0

    def interval(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Return f(low) and f(high)."""
        return self.function(low), self.function(high)

    def crosses(self, low: Tensor, high: Tensor) -> Tensor:
        """Tell where 0 lies between low and high."""
        return (low < 0) & (high > 0)

    def slopes(self, low: Tensor, high: Tensor) -> Slopes:
        """Return the chord above, and below the line that leaves the smaller triangle."""
        upper = self._upper(low, high)
        below = torch.where(low + high > 0, torch.ones_like(upper), torch.full_like(upper, self.slope))
        return Slopes(torch.where(self.crosses(low, high), below, upper), upper)

    def restrict(self, slopes: Slopes, low: Tensor, high: Tensor) -> Slopes:
        """Return the chord above, and a slope between those of f below."""
        upper = self._upper(low, high)
        return Slopes(torch.where(self.crosses(low, high), slopes.lower.clamp(self.slope, 1), upper), upper)

    def lines(self, slopes: Slopes, low: Tensor, high: Tensor) -> Lines:
        """Return the lines of these slopes: all but the chord go through 0."""
        slopes = self.restrict(slopes, low, high)
        crosses = self.crosses(low, high)
        intercept = torch.where(crosses, (self.slope - slopes.upper) * low, 0)
        return Lines(slopes.lower, intercept.new_zeros(()), slopes.upper, intercept)

    def _upper(self, low: Tensor, high: Tensor) -> Tensor:
        crosses = self.crosses(low, high)
        width = torch.where(crosses, high - low, 1)
        chord = (high - self.slope * low) / width
        own = torch.where(low >= 0, torch.ones_like(low), torch.full_like(low, self.slope))
        return torch.where(crosses, chord, own)


def hinge(slope: float) -> Hinge:
    """Return x -> x above 0 and slope * x below."""

    def function(x: Tensor) -> Tensor:
        return F.relu(x) if slope == 0 else torch.where(x > 0, x, slope * x)

    def derivative(x: Tensor) -> Tensor:
        return torch.where(x > 0, torch.ones_like(x), torch.full_like(x, slope))

    return Hinge(function, derivative, kinks=(0.0,), pieces=True, slope=slope)


def piecewise_linear(function: Curve, derivative: Curve, *kinks: float, monotone: bool = True) -> Activation:
    """Return a function that is linear between its kinks."""
    return Activation(function, derivative, kinks=kinks, monotone=monotone, pieces=True)


def clamp(low: float | None, high: float | None) -> Activation:
    """Return x -> min(max(x, low), high); None: no such bound."""

    def derivative(x: Tensor) -> Tensor:
        inside = torch.ones_like(x, dtype=torch.bool)
        inside = inside if low is None else inside & (x > low)
        inside = inside if high is None else inside & (x < high)
        return inside.to(x.dtype)

    kinks = tuple(float(one) for one in (low, high) if one is not None)
    return piecewise_linear(lambda x: x.clamp(low, high), derivative, *kinks)


def tanh() -> Activation:
    """Return the hyperbolic tangent."""
    return Activation(torch.tanh, lambda x: 1 - torch.tanh(x) ** 2, inflections=(0.0,))


def sigmoid() -> Activation:
    """Return the logistic function."""
    return Activation(torch.sigmoid, lambda x: torch.sigmoid(x) * torch.sigmoid(-x), inflections=(0.0,))


def elu(alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Activation:
    """Return scale * (x above 0, alpha (exp(input_scale x) - 1) below)."""

    def function(x: Tensor) -> Tensor:
        return scale * torch.where(x > 0, x, alpha * torch.expm1(input_scale * x.clamp(max=0)))

    def derivative(x: Tensor) -> Tensor:
        below = alpha * input_scale * torch.exp(input_scale * x.clamp(max=0))
        return scale * torch.where(x > 0, torch.ones_like(x), below)

    return Activation(function, derivative, kinks=(0.0,), inflections=(0.0,))


def softplus(beta: float = 1.0, threshold: float = 20.0) -> Activation:
    """Return log(1 + exp(beta x)) / beta; above the threshold torch gives x, which differs by less than exp(-20)."""
    return Activation(lambda x: F.softplus(x, beta, threshold), lambda x: torch.sigmoid(beta * x))


def exponential() -> Activation:
    """Return exp(x)."""
    return Activation(torch.exp, torch.exp)


def square() -> Activation:
    """Return x^2."""
    return Activation(torch.square, lambda x: 2 * x, monotone=False)


def absolute() -> Activation:
    """Return |x|."""
    return piecewise_linear(torch.abs, lambda x: torch.where(x > 0, 1.0, -1.0).to(x.dtype), 0.0, monotone=False)


def silu() -> Activation:
    """Return x * sigmoid(x); its second derivative is 0 where x tanh(x / 2) = 2."""
    bend = 2.3993572805154676

    def derivative(x: Tensor) -> Tensor:
        share = torch.sigmoid(x)
        return share * (1 + x * (1 - share))

    return Activation(F.silu, derivative, inflections=(-bend, bend), monotone=False)


def gelu() -> Activation:
    """Return x * Phi(x), whose second derivative phi(x) (2 - x^2) is 0 at +-sqrt(2)."""

    def derivative(x: Tensor) -> Tensor:
        density = torch.exp(-x.square() / 2) / math.sqrt(2 * math.pi)
        share: Tensor = torch.special.ndtr(x)
        return share + x * density

    return Activation(F.gelu, derivative, inflections=(-math.sqrt(2), math.sqrt(2)), monotone=False)


def gelu_tanh() -> Activation:
    """Return GELU as its tanh approximation has it, 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))."""
    bend, root, cube = 1.4185040087908283, math.sqrt(2 / math.pi), 0.044715

    def derivative(x: Tensor) -> Tensor:
        angle = torch.tanh(root * (x + cube * x**3))
        return 0.5 * (1 + angle) + 0.5 * x * (1 - angle.square()) * root * (1 + 3 * cube * x.square())

    def function(x: Tensor) -> Tensor:
        return F.gelu(x, approximate="tanh")

    return Activation(function, derivative, inflections=(-bend, bend), monotone=False)


def hardswish() -> Activation:
    """Return x * min(max(x + 3, 0), 6) / 6."""

    def derivative(x: Tensor) -> Tensor:
        return torch.where(x < -3, 0.0, torch.where(x > 3, 1.0, (2 * x + 3) / 6)).to(x.dtype)

    return Activation(F.hardswish, derivative, kinks=(-3.0, 3.0), inflections=(-3.0, 3.0), monotone=False)


def hardsigmoid() -> Activation:
    """Return min(max(x + 3, 0), 6) / 6."""
    return piecewise_linear(F.hardsigmoid, lambda x: ((x > -3) & (x < 3)).to(x.dtype) / 6, -3.0, 3.0)
