"""The lines of every activation lie below and above it, whatever their slopes; the exact ones are exact."""

from itertools import pairwise

import pytest
import torch
from torch.nn import functional as F

from sparring.defenses.certification import activations
from sparring.defenses.certification.activations import Slopes

ACTIVATIONS = {
    "relu": (activations.hinge(0.0), F.relu),
    "leaky": (activations.hinge(0.2), lambda x: F.leaky_relu(x, 0.2)),
    "relu6": (activations.clamp(0.0, 6.0), F.relu6),
    "hardtanh": (activations.clamp(-1.0, 1.0), F.hardtanh),
    "clamp above": (activations.clamp(None, 0.5), lambda x: x.clamp(max=0.5)),
    "tanh": (activations.tanh(), torch.tanh),
    "sigmoid": (activations.sigmoid(), torch.sigmoid),
    "elu": (activations.elu(), F.elu),
    "elu steep": (activations.elu(2.5), lambda x: F.elu(x, 2.5)),
    "selu": (activations.elu(1.6732632423543772, 1.0507009873554805), F.selu),
    "celu": (activations.elu(0.5, 1.0, 2.0), lambda x: F.celu(x, 0.5)),
    "gelu": (activations.gelu(), F.gelu),
    "gelu tanh": (activations.gelu_tanh(), lambda x: F.gelu(x, approximate="tanh")),
    "silu": (activations.silu(), F.silu),
    "softplus": (activations.softplus(2.0), lambda x: F.softplus(x, 2.0)),
    "hardswish": (activations.hardswish(), F.hardswish),
    "hardsigmoid": (activations.hardsigmoid(), F.hardsigmoid),
    "exp": (activations.exponential(), torch.exp),
    "abs": (activations.absolute(), torch.abs),
    "square": (activations.square(), torch.square),
}
ROUNDING = 1e-11


def intervals(count=3000):
    """Intervals of all sizes, also points, and such as end at kinks and inflections."""
    generator = torch.Generator().manual_seed(0)
    centre = 3 * torch.randn(count, generator=generator, dtype=torch.float64)
    width = torch.rand(count, generator=generator, dtype=torch.float64) ** 4 * 8
    width[::10] = 0
    width[1::10] = 10.0 ** -torch.randint(4, 17, (len(width[1::10]),), generator=generator).double()
    low, high = centre - width / 2, centre + width / 2
    low[2::10], high[3::10] = low[2::10].clamp(max=0), high[3::10].clamp(min=0)
    low[2::10] = torch.where(low[2::10] < -1.5, -3.0, 0.0)
    high = torch.maximum(low, high)
    return low, high


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_lines_of_any_slope_enclose_the_function(name):
    activation, reference = ACTIVATIONS[name]
    low, high = intervals()
    share = torch.linspace(0, 1, 401, dtype=torch.float64)[:, None]
    x = low + share * (high - low)
    values = reference(x)
    assert torch.allclose(activation(x), values, rtol=1e-14, atol=1e-15)
    least, most = activation.interval(low, high)
    scale = 1 + values.abs().amax(0)
    assert bool((values >= least - ROUNDING * scale).all())
    assert bool((values <= most + ROUNDING * scale).all())
    generator = torch.Generator().manual_seed(1)
    random = Slopes(*(1.5 * torch.randn(len(low), generator=generator, dtype=torch.float64) for _ in range(2)))
    for slopes in (activation.slopes(low, high), random, Slopes(random.upper, activation.slopes(low, high).lower)):
        lines = activation.lines(slopes, low, high)
        below = lines.lower_slope * x + lines.lower_intercept
        above = lines.upper_slope * x + lines.upper_intercept
        assert bool((below <= values + ROUNDING * scale).all())
        assert bool((above >= values - ROUNDING * scale).all())


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_lines_of_the_first_slopes_are_near_the_convex_hull(name):
    """At the middle, the gap is at most that of the hull of the graph plus a small share of the interval's."""
    activation, reference = ACTIVATIONS[name]
    low, high = intervals(300)
    wide = high - low > 1e-3
    low, high = low[wide], high[wide]
    if name in ("exp", "square"):
        low, high = low.clamp(max=3), high.clamp(max=3.5)
    lines = activation.lines(activation.slopes(low, high), low, high)
    middle = (low + high) / 2
    share = torch.linspace(0, 1, 201, dtype=torch.float64)[:, None]
    x = low + share * (high - low)
    slopes = torch.linspace(-3, 40, 861, dtype=torch.float64)
    hull = torch.stack([(reference(x) - slope * x).amin(0) + slope * middle for slope in slopes]).amax(0)
    upper = torch.stack([(reference(x) - slope * x).amax(0) + slope * middle for slope in slopes]).amin(0)
    reach = reference(x).amax(0) - reference(x).amin(0)
    assert bool((lines.lower_slope * middle + lines.lower_intercept >= hull - 0.06 * reach - 1e-6).all())
    assert bool((lines.upper_slope * middle + lines.upper_intercept <= upper + 0.06 * reach + 1e-6).all())


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivative_is_the_derivative_and_monotone_between_inflections(name):
    activation, reference = ACTIVATIONS[name]
    x = torch.linspace(-7.03, 7.01, 4001, dtype=torch.float64).requires_grad_()
    (slope,) = torch.autograd.grad(reference(x).sum(), x)
    x = x.detach()
    away = torch.stack([(x - kink).abs() > 1e-9 for kink in (*activation.kinks, 99.0)]).all(0)
    assert torch.allclose(activation.derivative(x)[away], slope[away], atol=1e-7)
    turns = (-torch.inf, *sorted({*activation.inflections, *activation.kinks}), torch.inf)
    for start, stop in pairwise(turns):
        steps = slope[(x > start) & (x < stop)].diff()
        assert bool((steps >= -1e-9).all()) or bool((steps <= 1e-9).all())


def test_relu_has_the_chord_above_and_the_smaller_triangle_below():
    low, high = torch.tensor([-1.0, -2.0, -3.0, 1.0]), torch.tensor([2.0, 1.0, -1.0, 2.0])
    slopes = activations.hinge(0.0).slopes(low, high)
    assert torch.allclose(slopes.upper, torch.tensor([2 / 3, 1 / 3, 0.0, 1.0]))
    assert torch.allclose(slopes.lower, torch.tensor([1.0, 0.0, 0.0, 1.0]))
