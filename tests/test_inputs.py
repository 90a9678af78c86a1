"""What inputs say of themselves: their range, their sites, neighbourhoods and random values."""

import math

import pytest
import torch

from sparring.errors import ConfigError, InputError
from sparring.inputs import Images, PointClouds, Unbounded
from sparring.random import Key

INF = math.inf
KINDS = {
    "images": (Images(), (3, 2, 6, 5)),
    "signed images": (Images(-1.0, 1.0), (3, 1, 6, 5)),
    "points": (PointClouds(), (3, 7, 3)),
    "lidar": (PointClouds((0.0, -40.0, -INF), (70.0, 40.0, INF)), (3, 7, 3)),
    "unbounded": (Unbounded(scale=2.0), (3, 4, 2)),
}
EVERY = pytest.mark.parametrize(("inputs", "shape"), KINDS.values(), ids=KINDS)


def some(shape, dtype=torch.float64):
    return 0.5 + 0.1 * Key(torch.arange(shape[0]), 0).normal("x", shape[1:], dtype=dtype).clamp(-4, 4)


@EVERY
def test_sites_go_there_and_back(inputs, shape):
    x = some(shape)
    sites = inputs.per_site(x)
    assert sites.ndim == 3
    assert sites.numel() == x.numel()
    assert torch.equal(inputs.from_sites(sites, x), x)
    if inputs.channel_axis is not None:
        one = inputs.from_sites(sites[:, :, :1], x)
        assert one.shape == x.shape
        assert torch.equal(inputs.per_site(one), sites[:, :, :1].expand_as(sites))


def test_a_site_is_a_pixel_a_point_or_a_component():
    x = torch.arange(24.0).view(1, 2, 3, 4)
    assert Images().per_site(x)[0, 5].tolist() == [5.0, 17.0]
    assert PointClouds().per_site(x[0])[1, 2].tolist() == x[0, 1, 2].tolist()
    assert Unbounded().per_site(x).shape == (1, 24, 1)


@EVERY
def test_random_inputs_are_valid_and_of_their_row_alone(inputs, shape):
    x, key = some(shape, torch.float32), Key(torch.arange(shape[0]), 1)
    for step in range(4):
        drawn = inputs.random(key, x, step)
        assert drawn.shape == x.shape
        assert drawn.dtype == x.dtype
        inputs.check(drawn)
        assert torch.equal(inputs.random(Key(torch.tensor([2]), 1), x[2:], step)[0], drawn[2])
        assert not torch.equal(inputs.random(key, x, step + 1), drawn)


def test_random_images_are_those_that_decision_attacks_begin_at():
    x, key = torch.zeros(2, 3, 8, 8), Key(torch.arange(2), 0)
    assert torch.equal(Images().random(key, x, 4), key.uniform("start", (3, 8, 8), 4))
    coarse = Images().random(key, x, 5)
    assert torch.equal(coarse[:, :, ::2, ::2], key.uniform("start", (3, 4, 4), 5))


def test_random_values_fill_a_finite_range_and_surround_x_in_an_infinite_one():
    key, points = Key(torch.arange(2000), 0), torch.full((2000, 2, 3), 5.0)
    drawn = PointClouds((0.0, -40.0, -INF), (70.0, 40.0, INF)).random(key, points)
    assert [round(float(v)) for v in drawn[..., 0].aminmax()] == [0, 70]
    assert [round(float(v)) for v in drawn[..., 1].aminmax()] == [-40, 40]
    assert float(drawn[..., 2].mean()) == pytest.approx(5, abs=5)
    assert float(drawn[..., 2].std()) == pytest.approx(80, rel=0.05)  # the widest finite coordinate
    above = PointClouds(0.0, INF).random(key, points)
    assert float(above.amin()) >= 0
    near, far = (Unbounded(scale=2.0).random(key, points, step).std() for step in (0, 10))
    assert float(near) == pytest.approx(2, rel=0.05)
    assert float(far) == pytest.approx(2 * 1.1**10, rel=0.05)


@EVERY
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_windows_hold_their_share_of_the_sites_and_their_centre(inputs, shape, share):
    x = some(shape)
    count = inputs.per_site(x).shape[1]
    centre = torch.tensor([0, count - 1, count // 2])
    window = inputs.window(x, centre, share)
    assert window.shape == (3, count)
    assert window[torch.arange(3), centre].all()
    sizes = window.sum(1)
    side = math.sqrt(share * count)
    least, most = (math.floor(side - 0.5) ** 2, math.ceil(side + 0.5) ** 2) if inputs.axes == 4 else (0, count)
    assert (sizes >= max(1, min(least, sizes.max()))).all()
    assert (sizes <= max(1, most)).all()
    if inputs.axes != 4:
        assert (sizes == max(1, round(share * count))).all()


def test_windows_of_images_are_squares_inside():
    x = torch.zeros(3, 1, 6, 8)
    window = Images().window(x, torch.tensor([0, 20, 47]), 9 / 48).view(3, 6, 8)
    for row, (top, left) in enumerate(((0, 0), (1, 3), (3, 5))):
        expected = torch.zeros(6, 8, dtype=torch.bool)
        expected[top : top + 3, left : left + 3] = True
        assert torch.equal(window[row], expected)


def test_windows_of_points_are_the_nearest_ones_that_are_present():
    x = torch.tensor([[[0.0, 0, 0], [0.1, 0, 0], [0.9, 0, 0], [0.2, 0, 0]]])
    assert PointClouds().window(x, torch.tensor([0]), 0.5).tolist() == [[True, True, False, False]]
    present = torch.tensor([[True, False, True, True]])
    assert PointClouds().window(x, torch.tensor([0]), 0.67, present).tolist() == [[True, False, False, True]]
    assert PointClouds().window(x, torch.tensor([0]), 1.0, present).tolist() == [present[0].tolist()]
    same = torch.zeros(1, 5, 3)  # points on one spot: no more than the share
    assert int(PointClouds().window(same, torch.tensor([2]), 0.4).sum()) == 2


def test_windows_of_numbers_go_around_the_end():
    x = torch.zeros(1, 2, 3)
    assert Unbounded().window(x, torch.tensor([5]), 0.5).tolist() == [[True, True, False, False, False, True]]


@pytest.mark.parametrize(
    ("inputs", "x", "told"),
    [
        (Images(), torch.zeros(2, 3, 4), r"must be a float tensor \(N, C, H, W\) .*shape \(2, 3, 4\)"),
        (Images(), torch.full((1, 1, 2, 2), 2.0), r"pixels reach from 2 to 2, .* in \[0, 1\]; divide by 255"),
        (Images(), torch.full((1, 1, 2, 2), math.nan), "image 0 holds NaN or infinity"),
        (Images(), torch.zeros(1, 1, 2, 2, dtype=torch.half), "too coarse for small perturbations"),
        (Images(), torch.zeros(1, 1, 2, 2, dtype=torch.uint8), r"images must be a float tensor .*; got torch\.uint8"),
        (Images(), [[0.0]], "images must be a float tensor .*; got list"),
        (Images(), torch.zeros(0, 1, 2, 2), "there are no images: x has 0 rows"),
        (PointClouds(), torch.zeros(2, 3), "point clouds have 3 axes"),
        (PointClouds((0.0, -1.0, -INF), 9.0), torch.full((1, 2, 3), -2.0), r"lie in \[\(0, -1, -inf\), 9\]"),
        (Unbounded(), torch.zeros(3), "inputs have a batch axis and at least one more"),
        (Unbounded(), torch.tensor([[1.0], [INF]]), "row 1 holds NaN or infinity"),
    ],
)
def test_inputs_that_are_none(inputs, x, told):
    with pytest.raises(InputError, match=told):
        inputs.check(x)


@EVERY
def test_inputs_that_fit_are_let_in_as_they_are(inputs, shape):
    x = some(shape)
    inputs.check(x)
    assert torch.equal(x, some(shape))


def test_ranges_that_are_none():
    for make in (lambda: Images(1.0, 0.0), lambda: PointClouds((0.0, 0.0), (1.0, 1.0, 1.0)), lambda: PointClouds(1.0)):
        with pytest.raises(ConfigError, match="pass numbers with low < high"):
            make()
    for scale in (0.0, -1.0, INF, math.nan):
        with pytest.raises(ConfigError, match="pass a finite number above 0"):
            Unbounded(scale)


def test_scale_is_the_size_of_a_large_value():
    assert Images().scale == 1
    assert Images(-1.0, 1.0).scale == 2
    assert PointClouds((0.0, -40.0, -INF), (70.0, 40.0, INF)).scale == 80
    assert Unbounded(scale=3.0).scale == 3
