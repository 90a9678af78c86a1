"""The union of several balls: who is in it, the nearest point of it, and the way out of it that gains most."""

import math

import pytest
import torch

from sparring import L0, L1, L2, Linf
from sparring.errors import ThreatError
from sparring.geometry import Union
from sparring.random import Key

BALLS = (Linf(0.125), L2(0.6), L1(2.0, share=0.01))
UNION = Union(BALLS)


def draw(stream, shape, dtype=torch.float64):
    return Key(torch.arange(shape[0]), 5).normal(stream, shape[1:], dtype=dtype)


@pytest.fixture
def images():
    return (0.5 + 0.4 * draw("x", (12, 2, 5, 4))).clamp(0, 1)


def test_inside_is_inside_of_one_at_least(images):
    delta = draw("delta", tuple(images.shape)) * torch.linspace(0.01, 0.3, 12, dtype=torch.float64).view(-1, 1, 1, 1)
    inside = torch.stack([ball.norm(delta) <= ball.eps for ball in BALLS])
    assert torch.equal(UNION.norm(delta) <= 1, inside.any(0))
    assert 0 < int(inside.any(0).sum()) < 12
    torch.testing.assert_close(UNION.norm(0.25 * delta), 0.25 * UNION.norm(delta))


def test_each_ball_reaches_in_where_the_others_do_not():
    flat, point, between = torch.full((1, 1, 10, 10), 0.125), torch.zeros(1, 1, 10, 10), torch.zeros(1, 1, 10, 10)
    point[0, 0, 0, 0] = 2.0
    between[0, 0, :2] = 0.6 / math.sqrt(20) - 1e-6
    for delta, mine in ((flat, BALLS[0]), (between, BALLS[1]), (point, BALLS[2])):
        assert [ball for ball in BALLS if float(ball.norm(delta)) <= ball.eps] == [mine]
        assert float(UNION.norm(delta)) == pytest.approx(1, abs=1e-4)
        assert float(UNION.norm(delta)) <= 1


def test_rounding_of_a_float32_image_is_not_outside():
    x = torch.rand(2000, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    union = Union((Linf(0.003), L2(0.01)))
    moved = (x + 0.003).clamp(0, 1)
    assert float(Linf().norm(moved - x).max()) > 0.003 * (1 + 1e-6)  # by rounding
    assert float(union.norm(moved - x).max()) <= 1
    assert float(union.norm(moved - x + 1e-4).min()) > 1


@pytest.mark.parametrize("scale", [1e-3, 0.1, 1.0, 30.0])
def test_the_projection_is_the_nearest_of_all(images, scale):
    delta = scale * draw("delta", tuple(images.shape))
    near = UNION.project(delta, images)
    assert float(UNION.norm(near).max()) <= 1
    assert float((images + near).min()) > -1e-9
    assert float((images + near).max()) < 1 + 1e-9
    torch.testing.assert_close(UNION.project(near, images), near, rtol=0, atol=1e-9)
    distance = (delta - near).flatten(1).norm(dim=1)
    for ball in BALLS:
        assert bool((distance <= (delta - ball.project(delta, images)).flatten(1).norm(dim=1) + 1e-12).all())
        for again in range(20):
            other = ball.sample(Key(torch.arange(12), again), images)
            assert bool((distance <= (delta - other).flatten(1).norm(dim=1) + 1e-9).all())
    halved = UNION.project(delta, images, torch.full((12,), 0.5, dtype=torch.float64))
    smaller = Union((Linf(0.0625), L2(0.3), L1(1.0)))
    torch.testing.assert_close(halved, smaller.project(delta, images))


def test_the_steepest_way_reaches_the_largest_dual_norm(images):
    grad = draw("grad", tuple(images.shape))
    powers = torch.linspace(0.1, 4, 12, dtype=torch.float64).view(-1, 1, 1, 1)  # from nearly flat to a single peak
    grad = grad.sign() * grad.abs() ** powers
    flat = grad.flatten(1)
    dual = torch.stack([0.125 * flat.abs().sum(1), 0.6 * flat.norm(dim=1), flat.abs().amax(1)])
    assert len(dual.argmax(0).unique()) == 3
    union = Union((Linf(0.125), L2(0.6), L1(1.0)))
    step = union.steepest(grad)
    torch.testing.assert_close((step * grad).flatten(1).sum(1), dual.amax(0))
    torch.testing.assert_close(union.norm(step), torch.ones(12, dtype=torch.float64))
    assert not union.steepest(torch.zeros_like(grad)).any()


def test_a_draw_is_of_one_of_the_balls_and_of_its_row_alone(images):
    many = images[:1].expand(600, -1, -1, -1)
    drawn = UNION.sample(Key(torch.arange(600), 1), many)
    assert float(UNION.norm(drawn).max()) <= 1
    own = torch.stack([(ball.sample(Key(torch.arange(600), 1), many) == drawn).flatten(1).all(1) for ball in BALLS])
    assert bool((own.sum(0) == 1).all())
    assert all(150 < count < 250 for count in own.sum(1).tolist())
    assert torch.equal(UNION.sample(Key(torch.tensor([7]), 1), many[:1])[0], drawn[7])


def test_counted_pixels_may_be_one_of_the_ways(images):
    union = Union((L0(2), Linf(0.05)))
    delta = torch.zeros_like(images)
    delta[:, 0, 0, :2] = 0.3
    assert union.norm(delta).tolist() == [1.0] * 12
    assert float(union.norm(union.project(3 * draw("delta", tuple(images.shape)), images)).max()) <= 1


@pytest.mark.parametrize(
    ("balls", "said"),
    [
        ((), "a tuple of balls"),
        ([Linf(0.1)], "a tuple of balls"),
        ((Linf(),), "a union holds Linf"),
        ((Linf(0.0), L2(1)), "a union holds Linf"),
        ((UNION,), "a union holds Union"),
        (("linf:0.1",), "a union holds 'linf:0.1'"),
    ],
)
@pytest.mark.wrong_types
def test_what_is_no_union(balls, said):
    with pytest.raises(ThreatError, match=said):
        Union(balls)


def test_every_ball_is_checked_against_the_images(images):
    Union((Linf(1.0), L2(3.0))).check(images)
    with pytest.raises(ThreatError, match="L2 epsilon 30 is larger than the whole range"):
        Union((Linf(0.1), L2(30.0))).check(images)


def test_it_names_its_balls():
    assert str(Union((Linf(0.3), L2(2)))) == "Linf(0.3) or L2(2)"
    assert {UNION: 1}[Union(BALLS)] == 1
