"""The laws over every ball on generated shapes and radii; projections against independent solvers."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from sparring import L0, L1, L2, Linf, testing
from sparring.errors import SparringError, ThreatError
from sparring.geometry import unit
from sparring.random import Key

SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 7), st.integers(1, 7))
CONVEX = (Linf, L2, L1)
ONCE = settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def draw(stream, shape, dtype=torch.float64, seed=0):
    return Key(torch.arange(shape[0]), seed).normal(stream, shape[1:], dtype=dtype)


def pictures(shape, dtype=torch.float64, seed=0):
    """Images of which many pixels are exactly 0 or 1."""
    return (0.5 + 0.5 * draw("x", shape, dtype, seed)).clamp(0, 1)


@pytest.mark.parametrize("kind", CONVEX)
@ONCE
@given(shape=SHAPES, radius=st.floats(1e-3, 0.9), seed=st.integers(0, 99))
def test_every_ball_keeps_the_laws(kind, shape, radius, seed):
    x = pictures(shape, seed=seed)
    diameter = float(kind().norm(torch.ones_like(x[:1])))
    ball = L1(radius * diameter, share=0.01) if kind is L1 else kind(radius * diameter)
    testing.check_geometry(ball, x)


@pytest.mark.parametrize("pixels", [False, True])
@ONCE
@given(shape=SHAPES, share=st.floats(0.05, 1), seed=st.integers(0, 99))
def test_l0_keeps_the_laws(pixels, shape, share, seed):
    x = pictures(shape, seed=seed)
    sites = x[0, 0].numel() if pixels else x[0].numel()
    testing.check_geometry(L0(max(1, int(share * sites)), pixels=pixels), x)


def nearest_by_slsqp(order, eps, delta, x):
    """The nearest point of ball and box, by a solver that knows nothing of ours (p = u - v for L1)."""
    d, x, n = delta.numpy().ravel(), x.numpy().ravel(), delta.numel()
    low, high = -x, 1 - x
    split = np.concatenate((np.maximum(np.clip(d, low, high), 0), np.maximum(-np.clip(d, low, high), 0)))
    split *= min(1, eps / max(split.sum(), 1e-12))
    if order == 1:
        found = minimize(
            lambda s: 0.5 * ((s[:n] - s[n:] - d) ** 2).sum(),
            split,
            jac=lambda s: np.concatenate((s[:n] - s[n:] - d, -(s[:n] - s[n:] - d))),
            bounds=[*zip(np.zeros(n), high, strict=True), *zip(np.zeros(n), -low, strict=True)],
            constraints={"type": "ineq", "fun": lambda s: eps - s.sum(), "jac": lambda s: -np.ones(2 * n)},
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        )
        return found.x[:n] - found.x[n:]
    found = minimize(
        lambda p: 0.5 * ((p - d) ** 2).sum(),
        split[:n] - split[n:],
        jac=lambda p: p - d,
        bounds=list(zip(low, high, strict=True)),
        constraints={"type": "ineq", "fun": lambda p: eps**2 - (p**2).sum(), "jac": lambda p: -2 * p},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    return found.x


@pytest.mark.parametrize(("kind", "order"), [(L2, 2), (L1, 1)])
@pytest.mark.parametrize("scale", [0.3, 1.0, 5.0])
def test_projection_agrees_with_an_independent_solver(kind, order, scale):
    x = pictures((6, 1, 3, 3))
    assert (x == 0).any()
    assert (x == 1).any()
    delta, eps = scale * draw("delta", tuple(x.shape)), 0.8
    ours = kind(eps).project(delta, x)
    for row in range(len(x)):
        theirs = nearest_by_slsqp(order, eps, delta[row], x[row])
        far = float((delta[row].flatten() - torch.tensor(theirs)).norm())
        assert float((delta[row] - ours[row]).norm()) <= far + 1e-7
        assert np.abs(ours[row].numpy().ravel() - theirs).max() < 2e-4


def nearest_by_bisection(kind, eps, delta, low, high):
    """Numpy, no loop of ours: bisect the one multiplier of the problem."""
    shrunk = (
        (lambda t: np.clip(np.sign(delta) * np.maximum(np.abs(delta) - t, 0), low, high))
        if kind is L1
        else (lambda t: np.clip(delta / (1 + t), low, high))
    )
    size = (lambda p: np.abs(p).sum()) if kind is L1 else (lambda p: math.sqrt((p**2).sum()))
    if size(shrunk(0.0)) <= eps:
        return shrunk(0.0)
    a, b = 0.0, 1e15
    for _ in range(300):
        middle = (a + b) / 2
        a, b = (middle, b) if size(shrunk(middle)) > eps else (a, middle)
    return shrunk(b)


@pytest.mark.parametrize("kind", [L2, L1])
@pytest.mark.parametrize("scale", [1e-3, 0.1, 1.0, 100.0])
def test_projection_agrees_with_bisection_on_larger_images(kind, scale):
    x, radius = pictures((5, 3, 9, 8)), torch.tensor([0.0, 0.01, 0.5, 3.0, 1e4], dtype=torch.float64)
    delta = scale * draw("delta", tuple(x.shape))
    ours = kind(7.0).project(delta, x, radius=radius)
    for row in range(len(x)):
        d, image = delta[row].numpy(), x[row].numpy()
        theirs = nearest_by_bisection(kind, float(radius[row]), d, -image, 1 - image)
        assert np.abs(ours[row].numpy() - theirs).max() < 1e-9 * max(1, scale)


def test_linf_projection_is_the_two_clamps_in_any_order():
    x, delta = pictures((4, 3, 5, 5)), draw("delta", (4, 3, 5, 5))
    expected = delta.clamp(-0.1, 0.1).clamp(-x, 1 - x)
    assert torch.allclose(Linf(0.1).project(delta, x), expected, atol=1e-12, rtol=0)
    radius = torch.tensor([0.0, 0.05, 0.1, 2.0], dtype=torch.float64)
    by_row = torch.stack([Linf(float(r)).project(delta[i : i + 1], x[i : i + 1])[0] for i, r in enumerate(radius)])
    assert torch.allclose(Linf(9.0).project(delta, x, radius=radius), by_row, atol=1e-12, rtol=0)


@pytest.mark.parametrize("pixels", [False, True])
def test_l0_projection_agrees_with_brute_force(pixels):
    x, delta = pictures((5, 2, 2, 2)), draw("delta", (5, 2, 2, 2))
    sites, eps = (4, 2) if pixels else (8, 3)
    ours = L0(eps, pixels=pixels).project(delta, x)
    inside = delta.clamp(-x, 1 - x)
    for row in range(len(x)):
        best = math.inf
        for chosen in itertools.combinations(range(sites), eps):
            mask = torch.zeros(sites)
            mask[list(chosen)] = 1
            mask = mask.view(1, 2, 2).expand(2, 2, 2) if pixels else mask.view(2, 2, 2)
            best = min(best, float((inside[row] * mask - delta[row]).norm()))
        assert float((ours[row] - delta[row]).norm()) == pytest.approx(best, abs=1e-12)
        assert float(L0(pixels=pixels).norm(ours)[row]) <= eps


def test_l0_counts_pixels_or_components():
    delta = torch.zeros(1, 3, 2, 2)
    delta[0, :, 0, 0] = torch.tensor([0.1, -0.1, 0.2])  # the channels' sum must not hide a moved pixel
    delta[0, 1, 1, 1] = -0.2
    assert float(L0().norm(delta)) == 4
    assert float(L0(pixels=True).norm(delta)) == 2


@pytest.mark.parametrize("pixels", [False, True])
def test_l0_projects_row_by_row(pixels):
    x, delta = pictures((3, 2, 3, 3)), draw("delta", (3, 2, 3, 3))
    radius = torch.tensor([0.0, 2.0, 1e9], dtype=torch.float64)
    size = L0(pixels=pixels).norm(L0(1, pixels=pixels).project(delta, x, radius=radius))
    assert float(size[0]) == 0
    assert float(size[1]) <= 2
    assert torch.equal(L0(1).project(delta, x, radius=radius)[2], delta[2].clamp(-x[2], 1 - x[2]))


@pytest.mark.parametrize("ball", [Linf(0.1), L2(0.7), L1(2.0), L0(3)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_box_of_width_zero_is_a_mask(ball, dtype):
    x, delta = pictures((3, 2, 4, 4), dtype), draw("delta", (3, 2, 4, 4), dtype)
    mask = torch.zeros(4, 4, dtype=dtype)
    mask[1:3, 1:3] = 1
    near = ball.project_between(delta, -x * mask, (1 - x) * mask)
    assert near.dtype == dtype
    assert not (near * (1 - mask)).any()
    assert near.any()
    assert (ball.norm(near) <= ball.eps * (1 + 1e-6)).all()


@pytest.mark.parametrize("ball", [Linf(0.1), L2(0.7), L1(2.0), L0(3)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_samples_and_projections_keep_dtype_and_the_callers_tensors(ball, dtype):
    x = pictures((5, 3, 6, 4), dtype)
    delta = draw("delta", tuple(x.shape), dtype)
    kept_x, kept_delta = x.clone(), delta.clone()
    for result in (ball.sample(Key(torch.arange(5), 0), x), ball.project(delta, x), ball.steepest(delta, at=x)):
        assert result.dtype == dtype
        assert result.isfinite().all()
    assert torch.equal(x, kept_x)
    assert torch.equal(delta, kept_delta)


@pytest.mark.parametrize("ball", [Linf(0.1), L2(0.7), L1(2.0, share=0.05), L0(3)], ids=str)
def test_zero_gradients_give_zero_and_tiny_ones_a_full_step(ball):
    grad = draw("grad", (4, 3, 5, 5))
    assert not ball.steepest(torch.zeros_like(grad)).any()
    step, small = ball.steepest(grad), ball.steepest(grad * 1e-200)
    assert torch.allclose(small, step, atol=1e-9)
    assert float((L1() if isinstance(ball, L0) else ball).norm(small).min()) == pytest.approx(1)


def test_unit_is_safe_where_squares_underflow():
    tiny = torch.tensor([[3e-30, 4e-30], [0.0, 0.0]])
    assert torch.allclose(unit(tiny), torch.tensor([[0.6, 0.8], [0.0, 0.0]]))


def test_l1_steps_move_the_largest_coordinates_that_can_move():
    grad = torch.tensor([[[[4.0, -3.0], [2.0, 1.0]]]])
    x = torch.tensor([[[[1.0, 0.5], [0.5, 0.0]]]])
    step = L1(1.0, share=0.5).steepest(grad, at=x)
    assert torch.equal(step, torch.tensor([[[[0.0, -0.5], [0.5, 0.0]]]]))  # the white pixel cannot go up


@pytest.mark.parametrize(("kind", "power"), [(L2, 1.0), (L1, 1.0)])
def test_samples_are_uniform_in_the_ball(kind, power):
    """The share of draws within r of the center is (r / eps)^n; the box is far away here."""
    n, eps = 4, 0.1
    x = torch.full((20_000, 1, 2, 2), 0.5, dtype=torch.float64)
    sizes = kind(eps).norm(kind(eps).sample(Key(torch.arange(len(x)), 0), x)) / eps
    assert float(sizes.max()) <= 1 + 1e-9
    for share in (0.5, 0.8, 0.95):
        assert float((sizes <= share).double().mean()) == pytest.approx(share**n, abs=0.012)


def test_l2_and_l1_samples_have_no_favorite_direction():
    x = torch.full((20_000, 1, 1, 3), 0.5, dtype=torch.float64)
    for ball in (L2(0.1), L1(0.1)):
        delta = ball.sample(Key(torch.arange(len(x)), 0), x).flatten(1)
        assert float(delta.mean(0).abs().max()) < 0.002
        spread = delta.std(0)
        assert float(spread.max() / spread.min()) < 1.03
        assert float(torch.corrcoef(delta.T).fill_diagonal_(0).abs().max()) < 0.03


def test_l0_samples_choose_each_site_alike():
    x = torch.full((4000, 2, 2, 2), 0.5, dtype=torch.float64)
    for ball, sites in ((L0(3), 8), (L0(2, pixels=True), 4)):
        delta = ball.sample(Key(torch.arange(len(x)), 0), x)
        moved = delta.ne(0).any(1).flatten(1) if ball.pixels else delta.ne(0).flatten(1)
        assert (moved.sum(1) == ball.eps).all()
        assert float((moved.double().mean(0) - ball.eps / sites).abs().max()) < 0.05


@pytest.mark.parametrize("kind", [Linf, L2, L1, L0])
@pytest.mark.parametrize("eps", [-1, math.nan, "8/255", None])
@pytest.mark.wrong_types
def test_a_radius_that_is_none(kind, eps):
    with pytest.raises(ThreatError, match=rf"{kind.__name__} epsilon .* is not a radius; pass a number >= 0"):
        kind(eps)


def test_an_epsilon_in_units_of_255():
    x = torch.zeros(1, 3, 4, 4)
    with pytest.raises(ThreatError, match=r"Linf epsilon 8 is larger .*\(1\).*; for 8 of 255 levels pass 8/255"):
        Linf(8).check(x)
    with pytest.raises(ThreatError, match=r"L0 epsilon 49 is larger than the whole range of these images \(48\)"):
        L0(49).check(x)
    for ball in (Linf(1.0), L2(48**0.5), L1(48.0), L0(48), L0(16, pixels=True), Linf()):
        ball.check(x)


def test_a_fractional_count_and_an_impossible_share():
    with pytest.raises(ThreatError, match=r"L0 epsilon 0\.5 is not a count; pass a whole number of components"):
        L0(0.5)
    for share in (0, 1.5, -0.1):
        with pytest.raises(ThreatError, match=r"L1 share .* pass a number in \(0, 1\]"):
            L1(1.0, share=share)


def test_balls_name_themselves_as_the_field_does():
    assert [str(b) for b in (Linf(8 / 255), Linf(0.3), L2(0.5), L1(), Linf())] == [
        "Linf(8/255)", "Linf(0.3)", "L2(0.5)", "L1", "Linf",
    ]  # fmt: skip


def test_threat_errors_are_of_the_tree():
    assert issubclass(ThreatError, SparringError)


@pytest.mark.parametrize("kind", [Linf, L2, L1])
def test_a_radius_of_zero_leaves_nothing(kind):
    x, delta = pictures((3, 2, 4, 4)), draw("delta", (3, 2, 4, 4))
    assert not kind(0.0).project(delta, x).any()
    assert not kind(0.0).sample(Key(torch.arange(3), 0), x).any()
