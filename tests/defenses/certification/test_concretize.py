"""The least value of a linear function in ball, range and mask, against solvers."""

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize

import sparring as sp
from sparring.defenses.certification.concretize import InputSet
from sparring.errors import ThreatError

from .conftest import region_of


def problem(seed, ball):
    torch.manual_seed(seed)
    images = torch.rand(3, 1, 2, 4, dtype=torch.float64).round(decimals=1)
    mask = torch.rand(3, 1, 2, 4) < 0.7
    mask[:, :, 0, 0] = True
    eps = torch.rand(3, dtype=torch.float64) * ball.eps
    eps[0] = 0 if seed == 0 else eps[0]
    region = region_of(images, ball, mask=mask, eps=eps)
    return region, InputSet.of(region, torch.float64), torch.randn(3, 5, 1, 2, 4, dtype=torch.float64)


def by_solver(a, x, low, high, eps, ball):
    n = len(x)
    if isinstance(ball, sp.L2):
        start = np.zeros(n)
        limits = [*zip(low - x, high - x, strict=True)]
        inside = {"type": "ineq", "fun": lambda d: eps**2 - d @ d, "jac": lambda d: -2 * d}
        return (
            minimize(lambda d: a @ d, start, jac=lambda d: a, bounds=limits, constraints=inside, tol=1e-12).fun + a @ x
        )
    limits = [*zip(np.zeros(2 * n), np.concatenate((high - x, x - low)), strict=True)]
    rows, right = ([np.ones(2 * n)], [eps]) if isinstance(ball, sp.L1) else (None, None)
    if rows is None:
        limits = [(0, min(eps, edge)) for _, edge in limits]
    return linprog(np.concatenate((a, -a)), A_ub=rows, b_ub=right, bounds=limits).fun + a @ x


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("ball", [sp.Linf(0.4), sp.L2(0.9), sp.L2(3.0), sp.L1(1.5), sp.L1(6.0)], ids=str)
def test_least_value_is_that_of_a_solver(ball, seed):
    region, inputs, coefficients = problem(seed, ball)
    least = inputs.least(coefficients)
    points = inputs.minimizer(coefficients)
    for row in range(3):
        x = region.x[row].flatten().numpy()
        free = region.free[row].flatten().numpy()
        low, high = np.where(free, 0.0, x), np.where(free, 1.0, x)
        for k in range(5):
            a = coefficients[row, k].flatten().numpy()
            exact = by_solver(a, x, low, high, float(region.eps[row]), ball)
            assert least[row, k] == pytest.approx(exact, abs=1e-6)
            at = float((coefficients[row, k] * points[row, k]).sum())
            assert at == pytest.approx(exact, abs=1e-6)
            assert at >= least[row, k] - 1e-12
        assert bool(region.take(torch.tensor([row] * 5)).contains(points[row]).all())


@pytest.mark.parametrize("ball", [sp.Linf(0.4), sp.L2(0.9), sp.L1(1.5)], ids=str)
def test_shared_coefficients_give_each_input_its_own_value(ball):
    _, inputs, coefficients = problem(1, ball)
    shared = coefficients[:1]
    assert torch.equal(inputs.least(shared), inputs.least(shared.expand_as(coefficients).contiguous()))


@pytest.mark.parametrize("ball", [sp.Linf(0.4), sp.L2(0.9), sp.L1(1.5)], ids=str)
def test_least_value_is_differentiable(ball):
    _, inputs, coefficients = problem(2, ball)
    assert torch.autograd.gradcheck(inputs.least, coefficients.requires_grad_())


@pytest.mark.parametrize("ball", [sp.Linf(0.4), sp.L2(3.0), sp.L1(1.5)], ids=str)
def test_tolerance_covers_whatever_the_region_contains(ball):
    region, _, _ = problem(3, ball)
    wide = InputSet.of(region, torch.float64, tolerance=1e-6)
    for sign in (1, -1):
        coefficients = sign * torch.randn(3, 1, 1, 2, 4, dtype=torch.float64)
        outermost = wide.minimizer(coefficients)[:, 0]
        assert bool(region.contains(outermost - 1e-9 * (outermost - region.x)).all())
        beyond = region.x + (outermost - region.x) * (1 + 3e-6) - 2e-6 * coefficients[:, 0].sign()
        assert not bool(region.contains(beyond).any())


def test_balls_without_bounds_are_refused():
    x = torch.rand(1, 1, 2, 2)
    with pytest.raises(ThreatError, match="Linf, L2 and L1"):
        InputSet.of(region_of(x, sp.L0(3)), torch.float64)
    with pytest.raises(ThreatError, match="radius"):
        InputSet.of(region_of(x, sp.Linf()), torch.float64)
