"""Balls where the valid range has no end: the projection is that of the ball alone, without a NaN."""

import math

import pytest
import torch

from sparring import L0, L1, L2, Linf
from sparring.geometry import Union
from sparring.random import Key

INF = math.inf
BALLS = [Linf(0.2), L2(0.7), L1(2.0), L0(3), Union((Linf(0.1), L2(0.5)))]


def draw(stream, shape):
    return Key(torch.arange(shape[0]), 0).normal(stream, shape[1:], dtype=torch.float64)


@pytest.mark.parametrize("ball", BALLS, ids=str)
@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_projection_without_a_range_is_that_onto_the_ball(ball, scale):
    delta = scale * draw("delta", (4, 1, 3, 5))
    near, far = ball.project_between(delta, -INF, INF), torch.full_like(delta, INF)
    assert near.isfinite().all()
    assert torch.equal(ball.project_between(delta, -far, far), near)
    wide = torch.full_like(delta, 1e6)
    assert torch.allclose(ball.project_between(delta, -wide, wide), near, atol=1e-12)
    assert (ball.norm(near) <= ball.eps * (1 + 1e-9)).all()


def test_projection_onto_l2_without_a_range_is_the_shorter_vector():
    delta = draw("delta", (4, 6))
    assert torch.allclose(L2(0.5).project_between(delta, -INF, INF), 0.5 * delta / delta.norm(dim=1, keepdim=True))


@pytest.mark.parametrize("ball", [Linf(0.2), L2(0.7), L1(2.0), L0(3)], ids=str)
def test_bounds_may_be_infinite_here_and_not_there(ball):
    delta = draw("delta", (4, 12))
    upper = torch.where(draw("upper", (4, 12)) > 0, INF, 0.3).double()
    lower = torch.where(draw("lower", (4, 12)) > 0, -INF, 0.0).double()
    near = ball.project_between(delta, lower, upper)
    stand_in = ball.project_between(delta, lower.clamp(min=-1e6), upper.clamp(max=1e6))
    assert torch.allclose(near, stand_in, atol=1e-12)


@pytest.mark.parametrize("kind", [Linf, L2, L1])
def test_hyperplanes_are_reached_where_there_is_room_without_end(kind):
    slope, gain = draw("slope", (4, 12)), torch.tensor([0.0, 1.0, -3.0, 1e4], dtype=torch.float64)
    slope[:, 3] = 0
    step = kind().onto_hyperplane(slope, gain, -INF, INF)
    assert torch.allclose((slope * step).sum(1), gain)
    assert torch.allclose(kind().norm(step), gain.abs() / kind().dual_norm(slope))


def test_scales_are_found_where_all_but_few_components_are_clipped():
    """A flat stretch of the norm sends the secant far away; the answer is still exact."""
    delta = torch.tensor([[5.0, 4.0, 1e-3, 0.0], [5.0, 5.0, 5.0, 5.0], [1e-9, 3.0, 3.0, 3.0]], dtype=torch.float64)
    upper = torch.tensor([[0.3, 0.4, 1.0, 1.0], [0.1, 0.2, 0.3, 0.4], [1.0, 1e-3, 1e-6, 9.0]], dtype=torch.float64)
    for eps in (0.49999, 0.3, 0.01, 1e-6):
        near = L2(eps).project_between(delta, -upper, upper)
        assert torch.allclose(L2().norm(near), torch.full((3,), eps, dtype=torch.float64), rtol=1e-12)
        share = near / delta.clamp_min(1e-300)
        free = near < upper
        for row in range(3):
            scales = share[row][free[row] & (delta[row] > 0)]
            assert torch.allclose(scales, scales[:1].expand_as(scales), rtol=1e-9)
