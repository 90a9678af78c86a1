"""Regions: the laws under masks, radii per row and every kind of range; what they cost nothing to keep."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from sparring import L0, L1, L2, Linf, testing
from sparring.errors import InputError, ThreatError
from sparring.geometry import Union
from sparring.geometry.region import Region
from sparring.inputs import Images, PointClouds, Unbounded
from sparring.random import Key

SHAPE = (5, 2, 4, 3)
CONVEX = [Linf(0.2), L2(0.7), L1(2.0, share=0.01)]
BALLS = [*CONVEX, L0(3), L0(2, pixels=True), Union((Linf(0.1), L2(0.5), L1(1.5)))]
RANGES = {
    "images": (0.0, 1.0),
    "unbounded": (-math.inf, math.inf),
    "below": (-math.inf, 1.0),
    "above": (0.0, math.inf),
}


def draw(stream, shape, dtype=torch.float64, seed=0):
    return Key(torch.arange(shape[0]), seed).normal(stream, shape[1:], dtype=dtype)


def pictures(shape=SHAPE, dtype=torch.float64):
    """Values of which many lie at 0 or 1."""
    return (0.5 + 0.5 * draw("x", shape, dtype)).clamp(0, 1)


def some(shape=SHAPE):
    """A mask per row, of two thirds of the components."""
    return draw("mask", shape) > -0.4


def radii(ball, count):
    """Another radius for every row, the first of them 0."""
    eps = torch.linspace(0, 1.5, count, dtype=torch.float64) * ball.eps
    return eps.floor() if isinstance(ball, L0) else eps


@pytest.mark.parametrize("ball", BALLS, ids=str)
@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
@pytest.mark.parametrize("per_row", [False, True], ids=["one eps", "eps per row"])
def test_region_keeps_the_laws(ball, masked, per_row):
    x = pictures()
    region = Region.around(x, ball, mask=some() if masked else None, eps=radii(ball, len(x)) if per_row else None)
    testing.check_region(region)


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 6), st.integers(1, 6)),
    kind=st.sampled_from([Linf, L2, L1, L0]),
    free=st.floats(0.1, 1),
    eps=st.floats(0.01, 1),
    seed=st.integers(0, 99),
)
def test_regions_of_any_shape_keep_the_laws(shape, kind, free, eps, seed):
    x, key = pictures(shape), Key(torch.arange(shape[0]), seed)
    mask = key.uniform("mask", shape[1:]) < free
    mask[:, 0, 0, 0] = True
    ball = L1(share=0.01) if kind is L1 else kind()
    limit = Region.around(x, ball, mask=mask).diameter * eps * key.uniform("eps", (1,), dtype=x.dtype)[:, 0]
    testing.check_region(Region.around(x, ball, mask=mask, eps=limit.ceil() if kind is L0 else limit))


@pytest.mark.parametrize("ball", [*CONVEX, L0(3)], ids=str)
@pytest.mark.parametrize("name", [*RANGES, "mixed"])
@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
def test_infinite_ranges_keep_the_laws(ball, name, masked):
    x = pictures()
    if name == "mixed":
        low = torch.where(draw("low", SHAPE) > 0, 0.0, -torch.inf).double()
        high = torch.where(draw("high", SHAPE) > 0, 1.0, torch.inf).double()
    else:
        low, high = RANGES[name]
    region = replace(Region.around(x, ball, mask=some() if masked else None), low=low, high=high)
    testing.check_region(region)


@pytest.mark.parametrize("ball", [*CONVEX, L0(3), L0(2, pixels=True)], ids=str)
def test_point_clouds_keep_the_laws(ball):
    x = draw("points", (4, 6, 3)).clamp(-1, 1)
    inputs = PointClouds((-1.0, -1.0, -math.inf), (1.0, math.inf, math.inf))
    testing.check_region(Region.around(x, ball, inputs, mask=draw("present", (4, 6, 1)) > -1))


@pytest.mark.parametrize("ball", CONVEX, ids=str)
def test_infinite_radius_leaves_the_range_alone(ball):
    x, delta = pictures(), 3 * draw("delta", SHAPE)
    region = Region.around(x, type(ball)(), mask=some())
    expected = torch.where(some(), (x + delta).clamp(0, 1), x)
    assert torch.allclose(x + region.project(delta), expected, atol=1e-12)
    assert torch.equal(region.nearest_(x + delta), expected)
    with pytest.raises(ThreatError, match="nothing can be drawn from a ball without a radius"):
        region.sample(Key(torch.arange(5), 0))
    mixed = replace(region, eps=torch.tensor([math.inf, 0.1, math.inf, 0.2, 0.0], dtype=torch.float64))
    testing.check_region(mixed)


def test_range_of_width_zero_and_mask_differ_where_they_must():
    """Bounds alone hold a component; `free` also takes it out of directions, dimensions and dual norms."""
    x, grad = pictures(), draw("grad", SHAPE)
    free = Region.around(x, L2(0.5), mask=some())
    low, high = free.range
    boxed = replace(free, low=low, high=high, free=None)
    delta = draw("delta", SHAPE)
    assert torch.allclose(free.project(delta), boxed.project(delta), atol=1e-12)
    assert bool((free.dual_norm(grad) < boxed.dual_norm(grad)).all())
    assert bool((free.dimension < boxed.dimension).all())
    assert torch.allclose(free.norm(free.steepest(grad)), torch.ones(5, dtype=torch.float64))
    assert not free.steepest(grad)[~some()].any()


def test_radius_is_a_number_where_all_rows_have_the_same():
    x = pictures(dtype=torch.float32)
    assert Region.around(x, Linf(8 / 255)).radius == 8 / 255  # not its float32 neighbour
    assert Region.around(x, Linf(0.1), eps=torch.full((5,), 0.25)).radius == 0.25
    assert isinstance(Region.around(x, Linf(0.1), eps=torch.linspace(0, 1, 5)).radius, torch.Tensor)


@pytest.mark.parametrize("ball", [Linf(0.03), L2(0.5), L1(5.0), L0(7), L0(3, pixels=True)], ids=str)
def test_moves_on_images_are_those_of_the_ball(ball):
    x = pictures((6, 3, 8, 8), torch.float32)
    region = Region.around(x, ball)
    image, other = x.clone(), x.clone()
    for step in range(12):
        grad = draw(f"grad {step}", tuple(x.shape), torch.float32)
        image = region.ascend_(grad.clone(), image, 0.2 * ball.eps)
        other = x + ball.project(other + 0.2 * ball.eps * ball.steepest(grad, at=other) - x, x)
    assert torch.allclose(image, other, atol=1e-5, rtol=0)
    key = Key(torch.arange(6), 2)
    assert torch.allclose(region.sample(key), ball.sample(key, x), atol=1e-6, rtol=0)


@pytest.mark.parametrize("ball", BALLS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_results_keep_dtype_and_the_callers_tensors(ball, dtype):
    x, grad = pictures(dtype=dtype), draw("grad", SHAPE, dtype)
    kept = x.clone(), grad.clone()
    region, key = Region.around(x, ball, mask=some(), eps=radii(ball, 5)), Key(torch.arange(5), 0)
    share = torch.full((5,), 0.5, dtype=dtype)
    results = (
        region.project(grad), region.steepest(grad, at=x), region.sample(key), region.clamp(x + grad),
        region.ascend_(grad.clone(), x, 0.1), region.shrink(grad, share), region.diameter, region.dimension,
        region.room(grad), region.direction(key), region.dual_norm(grad), region.euclidean_length(share),
        region.nearest_many_(torch.stack((x, x + grad), 1)),
    )  # fmt: skip
    assert all(result.dtype == dtype and result.isfinite().all() for result in results)
    assert torch.equal(x, kept[0])
    assert torch.equal(grad, kept[1])


def test_l2_moves_keep_exact_norms_in_float32_on_large_images():
    x = pictures((2, 3, 96, 96), torch.float32)
    region, image = Region.around(x, L2(2.0)), x
    for step in range(8):
        image = region.ascend_(draw(f"grad {step}", tuple(x.shape), torch.float32), image, 1.5)
        assert region.contains(image).all()
        assert image.min() >= 0
        assert image.max() <= 1 + 1e-7
    assert torch.allclose(region.norm(image - x).double(), torch.tensor(2.0).double(), rtol=2e-6)


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e12])
def test_l2_steps_are_whole_for_tiny_and_huge_gradients(scale):
    x = torch.full((3, 1, 4, 4), 0.5)
    grad = draw("grad", (3, 1, 4, 4), torch.float32)
    grad[1] = 0
    region = Region.around(x, L2(0.3))
    expected = region.ascend_(grad.clone(), x, 0.2)
    assert torch.allclose(region.ascend_(grad * scale, x, 0.2), expected, atol=1e-6)
    assert torch.equal(expected[1], x[1])


@pytest.mark.parametrize("ball", [Linf(0.2), L2(0.7), L1(2.0)], ids=str)
def test_rates_per_row(ball):
    x, grad = pictures(), draw("grad", SHAPE)
    region, rate = Region.around(x, ball, mask=some()), torch.linspace(0.01, 0.4, 5, dtype=torch.float64)
    whole = region.ascend_(grad.clone(), x, rate)
    for row in range(5):
        here = slice(row, row + 1)
        alone = region.take(torch.tensor([row])).ascend_(grad[here].clone(), x[here], float(rate[row]))
        assert torch.allclose(alone[0], whole[row], atol=1e-12)


def test_many_inputs_per_row_are_treated_as_one_each():
    x, points = pictures(), pictures((5, 7, 2, 4, 3)) + draw("more", (5, 7, 2, 4, 3))
    for ball in BALLS:
        region = Region.around(x, ball, mask=some())
        for i in range(7):
            assert torch.equal(region.clamp_many(points)[:, i], region.clamp(points[:, i]))
            expected = region.nearest_(points[:, i].clone())
            assert torch.allclose(region.nearest_many_(points)[:, i], expected, atol=1e-12)


def test_several_gradients_per_row_have_a_dual_norm_each():
    grads = draw("grads", (5, 3, 2, 4, 3))
    for ball in BALLS:
        for mask in (None, some()):
            region = Region.around(pictures(), ball, mask=mask)
            expected = torch.stack([region.dual_norm(one) for one in grads.unbind(1)], 1)
            assert torch.allclose(region.dual_norm_many(grads), expected)


def test_values_are_summed_over_sites_and_spread_back():
    x = pictures()
    for ball, sites in ((L2(1), 24), (L0(1), 24), (L0(1, pixels=True), 12)):
        summed = ball.sum_per_site(x)
        assert summed.shape == (5, sites)
        assert torch.allclose((ball.spread(summed, x) + torch.zeros_like(x)).sum(), summed.sum() * 24 / sites)


@pytest.mark.parametrize("ball", [L2(0.1), L1(0.1)], ids=str)
def test_draws_are_uniform_in_the_ball_of_the_free_components(ball):
    """The share of draws within r of the centre is (r / eps)^n, with n free components; the range is far away."""
    x, n = torch.full((20_000, 1, 2, 4), 0.5, dtype=torch.float64), 3
    mask = torch.tensor([[True, False, False, True], [False, True, False, False]])
    eps = torch.linspace(0.05, 0.2, len(x), dtype=torch.float64)
    region = Region.around(x, ball, mask=mask, eps=eps)
    drawn = region.sample(Key(torch.arange(len(x)), 0))
    assert not drawn[:, :, ~mask].any()
    assert stats.kstest((region.norm(drawn) / eps) ** n, "uniform").pvalue > 0.01
    free = drawn[:, 0][:, mask]
    assert float(free.mean(0).abs().max()) < 0.002
    assert float(free.std(0).max() / free.std(0).min()) < 1.03


def test_linf_and_l0_draws_under_a_mask():
    x = torch.full((4000, 1, 2, 4), 0.5, dtype=torch.float64)
    mask = torch.tensor([[True, False, False, True], [False, True, False, True]])
    drawn = Region.around(x, Linf(0.2), mask=mask).sample(Key(torch.arange(4000), 0))[:, 0][:, mask]
    assert stats.kstest(drawn.flatten() / 0.4 + 0.5, "uniform").pvalue > 0.01
    eps = torch.tensor([1.0, 2.0, 3.0, 9.0], dtype=torch.float64).repeat(1000)
    moved = Region.around(x, L0(1), mask=mask, eps=eps).sample(Key(torch.arange(4000), 0)) != 0
    assert torch.equal(moved.flatten(1).sum(1).double(), eps.clamp(max=4))
    assert not moved[:, 0][:, ~mask].any()
    often = moved[eps == 2][:, 0][:, mask].double().mean(0)
    assert float((often - 0.5).abs().max()) < 0.06


def test_l0_draws_where_the_range_is_infinite():
    x = draw("x", (50, 8))
    region = Region.around(x, L0(3), Unbounded(scale=2.0))
    drawn = region.sample(Key(torch.arange(50), 0))
    assert drawn.isfinite().all()
    assert ((drawn != 0).sum(1) == 3).all()


def test_sites_of_points_are_points():
    """(B, N, 3): a point has its coordinates along axis 2; axis 1 was summed whatever it was."""
    delta = torch.zeros(1, 4, 3)
    delta[0, 1] = torch.tensor([0.1, -0.2, 0.3])
    delta[0, 3, 2] = 0.1
    region = Region.around(torch.zeros(1, 4, 3), L0(1, pixels=True), PointClouds())
    assert float(region.norm(delta)) == 2
    assert torch.equal(region.project(delta)[0, 1], delta[0, 1])
    assert not region.project(delta)[0, 3].any()
    assert float(region.diameter) == 4
    assert float(L0(1, pixels=True, channel_axis=2).norm(delta)) == 2
    assert float(Region.around(torch.zeros(1, 4, 3), L0(1, pixels=True), Unbounded()).norm(delta)) == 4
    inside = Union((L0(1, pixels=True), Linf(0.5)))
    assert float(Region.around(torch.zeros(1, 4, 3), inside, PointClouds()).norm(10 * delta)) == 2


def test_diameter_is_the_norm_of_the_widest_perturbation():
    x = pictures()
    for ball in (Linf(), L2(), L1(), L0(), L0(pixels=True)):
        assert torch.allclose(Region.around(x, ball).diameter, ball.norm(torch.ones_like(x)))
    assert bool(Region.around(x, L2(), Unbounded()).diameter.isinf().all())
    few = Region.around(x, L2(), mask=some())
    assert torch.allclose(few.diameter, few.dimension.sqrt())


def test_steepest_passes_over_components_at_an_edge():
    x = torch.tensor([[[[1.0, 0.5], [0.5, 0.0]]]])
    grad = torch.tensor([[[[4.0, -3.0], [2.0, 1.0]]]])
    step = Region.around(x, L1(1.0, share=0.5)).steepest(grad, at=x)
    assert torch.equal(step, torch.tensor([[[[0.0, -0.5], [0.5, 0.0]]]]))
    mask = torch.tensor([[True, False], [True, True]])
    step = Region.around(x, L1(1.0, share=0.5), mask=mask).steepest(grad, at=x)
    assert torch.equal(step, torch.tensor([[[[0.0, 0.0], [0.5, 0.5]]]]))  # half of three components is two


@pytest.mark.parametrize("ball", CONVEX, ids=str)
def test_hyperplane_distance_is_the_norm_of_the_step_onto_it(ball):
    x, slope = torch.full(SHAPE, 0.5, dtype=torch.float64), draw("slope", SHAPE)
    region, gain = Region.around(x, ball, mask=some()), torch.linspace(0.01, 0.1, 5, dtype=torch.float64)
    step = region.onto_hyperplane(slope, gain)
    assert torch.allclose(region.norm(step), region.hyperplane_distance(slope, gain), atol=1e-12)
    assert torch.allclose((slope * step).flatten(1).sum(1), gain)
    assert bool(Region.around(x, ball, Unbounded()).onto_hyperplane(slope, 100 * gain).isfinite().all())


def test_hyperplane_distance_in_l0_counts_sites():
    x, slope = torch.full((1, 3), 0.5), torch.tensor([[4.0, -2.0, 0.0]])
    region = Region.around(x[:, :, None, None], L0())
    for gain, count in ((1.9, 1), (2.5, 2)):
        assert float(region.hyperplane_distance(slope[:, :, None, None], torch.tensor([gain]))) == count


@pytest.mark.parametrize("ball", [Linf(), L2(), L1(), L0()], ids=str)
def test_prox_is_the_minimiser(ball):
    delta, weight = draw("delta", (4, 6)), torch.tensor([0.0, 0.1, 0.5, 5.0], dtype=torch.float64)
    near = ball.prox(delta, weight)

    def price(point):
        return weight * ball.norm(point) + 0.5 * (point - delta).square().sum(1)

    for i in range(200):
        other = near + 0.3 * draw(f"other {i}", (4, 6)) * (draw(f"kept {i}", (4, 6)) > 0.5)
        assert bool((price(near) <= price(other) + 1e-12).all())
    assert bool((price(near) <= price(torch.zeros_like(delta)) + 1e-12).all())
    assert torch.allclose(near[0], delta[0])


@pytest.mark.parametrize("ball", [Linf(0.3), L2(0.7)], ids=str)
def test_squash_stays_inside_and_is_the_identity_near_zero(ball):
    values = draw("values", (5, 2, 3))
    assert bool((ball.norm(ball.squash(100 * values)) <= ball.eps).all())
    assert torch.allclose(ball.squash(1e-6 * values), 1e-6 * ball.eps * values, atol=1e-13)
    with pytest.raises(ThreatError, match="a smooth map into the ball is known in Linf and L2"):
        L1(1.0).squash(values)


def test_region_narrows_by_rows():
    x = pictures()
    region = Region.around(x, L2(0.5), mask=some(), eps=radii(L2(0.5), 5))
    low, high = region.range
    rows = torch.tensor([3, 1])
    few = replace(region, low=low, high=high).take(rows)
    assert len(few) == 2
    for name in ("x", "low", "high", "eps", "free"):
        assert torch.equal(getattr(few, name), getattr(replace(region, low=low, high=high), name)[rows])
    assert torch.equal(few.project(x[rows]), region.project(x)[rows])


def test_masks_and_radii_that_make_no_sense():
    x = pictures()
    with pytest.raises(InputError, match=r"a mask is bool, and this is torch\.float64; pass mask > 0"):
        Region.around(x, L2(1), mask=some().double())
    with pytest.raises(InputError, match=r"a mask of shape \(7,\) does not fit inputs \(5, 2, 4, 3\)"):
        Region.around(x, L2(1), mask=torch.ones(7, dtype=torch.bool))
    nothing = torch.ones(5, 1, 1, 1, dtype=torch.bool)
    nothing[3] = False
    with pytest.raises(InputError, match="the mask leaves nothing to move in row 3"):
        Region.around(x, L2(1), mask=nothing)
    with pytest.raises(ThreatError, match=r"radii of shape \(4,\) for 5 inputs"):
        Region.around(x, L2(1), eps=torch.ones(4))
    for bad in (-0.1, math.nan):
        with pytest.raises(ThreatError, match="a radius per row is a number >= 0"):
            Region.around(x, L2(1), eps=torch.full((5,), bad))


def test_the_range_of_images_may_be_another():
    x = 2 * pictures() - 1
    region = Region.around(x, Linf(3.0), Images(-1.0, 1.0))
    assert float((x + region.project(draw("delta", SHAPE))).abs().max()) <= 1 + 1e-12
    with pytest.raises(ThreatError, match=r"Linf epsilon 3 is larger .* \(2\): values lie in \[-1, 1\]"):
        Linf(3.0).check(x, -1.0, 1.0)
