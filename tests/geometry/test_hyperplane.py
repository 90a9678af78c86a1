"""Projections onto hyperplanes within the valid range, against solvers that know nothing of ours."""

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize

from sparring import L0, L1, L2, Linf
from sparring.errors import ThreatError
from sparring.random import Key

KINDS = (Linf, L2, L1)


def draw(stream, shape, dtype=torch.float64):
    return Key(torch.arange(shape[0]), 5).normal(stream, shape[1:], dtype=dtype)


def task(shape=(8, 1, 3, 4), dtype=torch.float64):
    """Images with many pixels at 0 and 1, slopes with zeros, and how much the range allows either way."""
    images = (0.5 + 0.5 * draw("x", shape, dtype)).clamp(0, 1)
    slope = draw("slope", shape, dtype)
    slope[:, :, 0, 0] = 0
    up = (slope * torch.where(slope > 0, 1 - images, -images)).flatten(1).sum(1)
    down = (slope * torch.where(slope > 0, -images, 1 - images)).flatten(1).sum(1)
    return images, slope, up, down


def onto_plane(ball, images, slope, gain):
    return ball.onto_hyperplane(slope, gain, -images, 1 - images)


def along(slope, delta):
    return (slope * delta).flatten(1).sum(1)


def smallest_by_linprog(kind, image, slope, gain):
    """Linf: min t with |d_i| <= t. L1: min sum u + v, d = u - v."""
    x, w, n = image.numpy().ravel(), slope.numpy().ravel(), image.numel()
    if kind is Linf:
        cost, plane = np.append(np.zeros(n), 1.0), np.append(w, 0.0)[None]
        eye, ones = np.eye(n), np.ones((n, 1))
        limits = np.block([[eye, -ones], [-eye, -ones]])
        bounds = [*zip(-x, 1 - x, strict=True), (0, None)]
        return linprog(cost, A_ub=limits, b_ub=np.zeros(2 * n), A_eq=plane, b_eq=[gain], bounds=bounds).fun
    bounds = [*zip(np.zeros(n), 1 - x, strict=True), *zip(np.zeros(n), x, strict=True)]
    return linprog(np.ones(2 * n), A_eq=np.append(w, -w)[None], b_eq=[gain], bounds=bounds).fun


def smallest_by_slsqp(image, slope, gain):
    x, w = image.numpy().ravel(), slope.numpy().ravel()
    found = minimize(
        lambda d: (d**2).sum(),
        np.zeros_like(x),
        jac=lambda d: 2 * d,
        bounds=[*zip(-x, 1 - x, strict=True)],
        constraints={"type": "eq", "fun": lambda d: w @ d - gain, "jac": lambda d: w},
        method="SLSQP",
        options={"ftol": 1e-13, "maxiter": 500},
    )
    assert found.success
    return float(np.sqrt(found.fun))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.95])
@pytest.mark.parametrize("side", ["up", "down"])
def test_it_is_the_smallest_by_an_independent_solver(kind, share, side):
    images, slope, up, down = task()
    gain = share * (up if side == "up" else down)
    delta = onto_plane(kind(), images, slope, gain)
    assert torch.allclose(along(slope, delta), gain, atol=1e-10, rtol=0)
    assert ((images + delta >= -1e-12) & (images + delta <= 1 + 1e-12)).all()
    for row in range(len(images)):
        one = (images[row], slope[row], float(gain[row]))
        theirs = smallest_by_slsqp(*one) if kind is L2 else smallest_by_linprog(kind, *one)
        assert float(kind().norm(delta)[row]) == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_far_from_the_edge_it_is_the_gain_over_the_dual_norm(kind):
    images, (_, slope, *_) = torch.full((8, 1, 3, 4), 0.5, dtype=torch.float64), task()
    gain = torch.linspace(-0.1, 0.1, 8, dtype=torch.float64)
    size = kind().norm(onto_plane(kind(), images, slope, gain))
    assert torch.allclose(size, gain.abs() / kind().dual_norm(slope), atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_out_of_reach_it_goes_to_the_corner(kind):
    images, slope, up, _ = task()
    delta = onto_plane(kind(), images, slope, 1.5 * up)
    corner = torch.where(slope > 0, 1 - images, -images) * (slope != 0)
    assert torch.allclose(delta, corner, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_flat_slopes_and_small_ones_and_rows_apart(kind, dtype):
    images, slope, up, _ = task(dtype=dtype)
    gain = 0.4 * up
    whole = onto_plane(kind(), images, slope, gain)
    assert whole.dtype == dtype
    assert not onto_plane(kind(), images, torch.zeros_like(slope), gain).any()
    assert not onto_plane(kind(), images, slope, torch.zeros_like(gain)).any()
    scale = 1e-30  # whose square is zero in float32
    small = onto_plane(kind(), images, scale * slope, scale * gain)
    assert torch.allclose(small, whole, atol=1e-5)
    for row in (0, 7):
        alone = onto_plane(kind(), images[row : row + 1], slope[row : row + 1], gain[row : row + 1])
        assert torch.allclose(alone[0], whole[row], atol=1e-6 if dtype == torch.float32 else 1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_large_images_reach_the_plane(kind):
    images, slope, up, down = task((2, 3, 64, 64), torch.float32)
    for gain in (0.01 * up, 0.7 * down):
        reached = along(slope.double(), onto_plane(kind(), images, slope, gain).double())
        assert torch.allclose(reached, gain.double(), rtol=1e-4)


def test_l0_is_refused():
    images, slope, up, _ = task()
    with pytest.raises(ThreatError, match="onto hyperplanes is known in Linf, L2 and L1, not in L0"):
        onto_plane(L0(), images, slope, up)
