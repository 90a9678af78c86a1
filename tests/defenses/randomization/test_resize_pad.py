"""Resizing and padding at random: each image against torch's own resize of it, and the law of the draws."""

from collections import Counter

import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor
from torch.nn import functional as F

import sparring as sp
from sparring.defenses.randomization import ResizePad, table
from sparring.defenses.randomization.resize_pad import AxisPlacement, resize_and_place
from sparring.errors import ConfigError
from sparring.random import Key
from sparring.targets import Defended
from sparring.testing import check_defense
from sparring.transforms import apply_with_bpda

SHAPES = [
    ((310 / 299, 331 / 299, 331 / 299), (3, 32, 32)),
    ((1.0, 1.6, 1.7), (1, 28, 28)),
    ((0.4, 1.0, 1.0), (2, 17, 17)),
    ((0.7, 1.4, 1.5), (3, 24, 13)),
    ((0.5, 0.5, 1.0), (1, 9, 20)),
    ((1.0, 1.0, 1.0), (1, 1, 1)),
]


def pictures(count: int, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    return Key(torch.arange(count), 4).uniform("pictures", shape, dtype=dtype)


def key_of(count: int, seed: int = 3) -> Key:
    return Key(torch.arange(count), seed)


def alone(image: Tensor, stage: ResizePad, down: tuple[int, int], across: tuple[int, int]) -> Tensor:
    """One image (C, H, W) by torch's own functions."""
    options = {} if stage.interpolation == "nearest" else {"align_corners": False}
    resized = F.interpolate(image[None], (down[1], across[1]), mode=stage.interpolation, **options)
    high, wide = stage.output_size(image[None])
    above, before = down[0], across[0]
    return F.pad(resized, (before, wide - across[1] - before, above, high - down[1] - above))[0]


def spans(stage: ResizePad, images: Tensor, key: Key) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    down, across = stage.draw_placements(images, key)
    rows = torch.stack((*down, *across), 1).int().tolist()
    return [((a, b), (c, d)) for a, b, c, d in rows]


@pytest.mark.parametrize(
    "stage", [("nearest", torch.float32), ("bilinear", torch.float32), ("bilinear", torch.float64)]
)
@pytest.mark.parametrize(("shares", "shape"), SHAPES)
def test_each_image_is_resized_and_padded_as_torch_does_it(shares, shape, stage) -> None:
    interpolation, dtype = stage
    stage, images = ResizePad(*shares, interpolation), pictures(40, shape, dtype)
    out = stage(images, key_of(40))
    drawn = spans(stage, images, key_of(40))
    expected = torch.stack([alone(image, stage, *each) for image, each in zip(images, drawn, strict=True)])
    if interpolation == "nearest":
        assert torch.equal(out, expected)
        assert torch.equal(stage(images.double(), key_of(40)), out.double())
    else:
        assert torch.allclose(out, expected, atol=1e-5 if dtype == torch.float32 else 1e-12, rtol=0)


def test_nearest_reads_the_pixel_that_torch_reads_at_every_size() -> None:
    """Where a source lies on a whole number, rounding decides; torch's is in float32."""
    for length in (5, 28, 31, 96, 224, 299):
        sizes = torch.arange(max(1, length // 2), length * 2)
        images = torch.arange(float(length)).expand(len(sizes), 1, 1, length)
        largest, zero, one = int(sizes[-1]), torch.zeros(len(sizes)), torch.ones(len(sizes))
        out = resize_and_place(
            images, AxisPlacement(zero, one), AxisPlacement(zero, sizes.float()), (1, largest), "nearest"
        )[:, 0, 0]
        for row, size in enumerate(sizes.tolist()):
            expected = F.interpolate(images[:1, :, 0], size, mode="nearest")[0, 0]
            assert torch.equal(out[row, :size], expected), (length, size)
            assert not bool(out[row, size:].any())


def test_sizes_and_places_are_drawn_with_equal_chances() -> None:
    stage, count = ResizePad(), 40_000
    images = torch.zeros(1).expand(count, 1, 299, 299)
    assert stage.output_size(images) == (331, 331)
    down, across = stage.draw_placements(images, key_of(count))
    sizes = Counter(down.length.int().tolist())
    assert set(sizes) == set(range(310, 331))  # the paper's [310, 331)
    assert chisquare([sizes[size] for size in range(310, 331)]).pvalue > 1e-3
    assert torch.equal(down.length, across.length)
    for span in (down, across):
        here = span.start[down.length == 320].int().tolist()
        places = Counter(here)
        assert set(places) == set(range(12))  # 331 - 320 = 11 is the last
        assert chisquare([places[place] for place in range(12)]).pvalue > 1e-3
    both = torch.stack((down.start, across.start)).double()
    assert abs(float(torch.corrcoef(both - both.mean(1, keepdim=True))[0, 1])) < 0.4  # both small where r is large
    fixed = down.length == 320
    assert abs(float(torch.corrcoef(both[:, fixed])[0, 1])) < 0.07


def test_equal_scales_give_one_size() -> None:
    images = torch.zeros(50, 1, 10, 10)
    down, across = ResizePad(1.2, 1.2, 1.5).draw_placements(images, key_of(50))
    assert set(down.length.tolist()) == set(across.length.tolist()) == {12.0}
    assert len(set(down.start.tolist())) == 4


def test_the_sides_of_an_image_that_is_not_square_go_together() -> None:
    images = torch.zeros(200, 1, 100, 60)
    stage = ResizePad(1.0, 1.5, 1.5)
    assert stage.output_size(images) == (150, 90)
    down, across = stage.draw_placements(images, key_of(200))
    assert float((down.length / 100 - across.length / 60).abs().max()) < 1 / 60
    assert {int(down.length.min()), int(down.length.max())} == {100, 149}


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_what_a_row_draws_does_not_depend_on_its_batch(interpolation: str) -> None:
    stage, images = ResizePad(0.6, 1.4, 1.5, interpolation), pictures(9, (3, 12, 12), torch.float64)
    whole = stage(images, key_of(9))
    parts = [stage(images[i : i + 1], Key(torch.tensor([i]), 3)) for i in range(9)]
    assert torch.equal(whole, torch.cat(parts))
    assert not torch.equal(whole, stage(images, key_of(9, seed=4)))


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("stage", [ResizePad(0.6, 1.4, 1.5), ResizePad(1.5, 1.8, 2.0)])
def test_autograd_goes_through(stage: ResizePad, interpolation: str) -> None:
    stage = ResizePad(stage.min_scale, stage.max_scale, stage.output_scale, interpolation)
    images = pictures(3, (1, 6, 5), torch.float64).requires_grad_()
    assert stage.differentiable
    assert torch.autograd.gradcheck(lambda x: apply_with_bpda(stage, x, key_of(3)), (images,))


def test_the_slope_goes_to_the_pixel_that_was_read() -> None:
    """Nearest to twice the size: each pixel is read four times."""
    images = pictures(3, (1, 7, 7)).requires_grad_()
    ResizePad(2.0, 2.0, 3.0)(images, key_of(3)).sum().backward()
    assert torch.equal(images.grad, torch.full_like(images, 4.0))


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_the_laws_of_a_stage_hold(interpolation: str) -> None:
    check_defense(ResizePad(0.7, 1.4, 1.5, interpolation))


def test_the_expected_gradient_is_that_over_all_places() -> None:
    """A linear model behind the stage: 25 places of an image that keeps its size, each as likely."""
    weights = key_of(1).normal("w", (1, 10, 10), dtype=torch.float64)
    exact = torch.stack([weights[0, :, i : i + 6, j : j + 6] for i in range(5) for j in range(5)]).mean(0)

    def once(x: Tensor) -> Tensor:
        score = (x * weights).flatten(1).sum(1)
        return torch.stack((-score, score), 1)

    view = Defended(sp.Classifier(once), ResizePad(1.0, 1.0, 10 / 6)).adaptive_view(1)
    images = pictures(1, (1, 6, 6), torch.float64).expand(4000, -1, -1, -1).clone().requires_grad_()
    (slopes,) = torch.autograd.grad(view(images, key_of(4000))[:, 1].sum(), images)
    spread = slopes.std(0) / 4000**0.5
    assert bool(((slopes.mean(0) - exact).abs() <= 4 * spread).all())


def test_an_attack_goes_through_the_stage_to_fresh_draws() -> None:
    """The best match of a template, wherever it lies."""
    template = key_of(1, 8).normal("t", (1, 8, 8), dtype=torch.float64)

    def once(x: Tensor) -> Tensor:
        score = F.conv2d(x - 0.5, template).flatten(1).amax(1) - 6
        return torch.stack((-score, score), 1)

    defended = Defended(sp.Classifier(once), ResizePad(0.8, 1.2, 1.25))
    images = pictures(20, (1, 16, 16), torch.float64)
    rates = [(defended(images, key_of(20, seed)).argmax(1) == 1).double() for seed in range(30)]
    labels = (torch.stack(rates).mean(0) > 0.5).long()
    attack, goal = sp.attacks.PGD(sp.Linf(0.2), steps=10), sp.Misclassify(labels)
    clean = float(torch.where(labels == 1, torch.stack(rates).mean(0), 1 - torch.stack(rates).mean(0)).mean())
    adaptive = sp.run(attack, defended.adaptive_view(8), goal, images)
    assert adaptive.robust_accuracy < clean - 0.2
    answers = torch.stack([defended(adaptive.examples, key_of(20, 100 + seed)).argmax(1) for seed in range(60)])
    assert float((answers == labels).double().mean()) == pytest.approx(adaptive.robust_accuracy, abs=0.06)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ResizePad(310, 331, 331), "not pixels"),
        (lambda: ResizePad(1.2, 1.1, 1.3), "0 < min_scale <= max_scale <= output_scale"),
        (lambda: ResizePad(1.1, 1.3, 1.2), "0 < min_scale <= max_scale <= output_scale"),
        (lambda: ResizePad(0.0, 1.1, 1.2), "0 < min_scale <= max_scale <= output_scale"),
        (lambda: ResizePad(1.0, float("inf"), float("inf")), "0 < min_scale <= max_scale <= output_scale"),
        (lambda: ResizePad(float("nan"), 1.1, 1.2), "0 < min_scale <= max_scale <= output_scale"),
        (lambda: ResizePad("1", 1.1, 1.2), "min_scale='1'.*pass numbers"),
        (lambda: ResizePad(interpolation="bicubic"), "interpolation='bicubic'; pass one of nearest, bilinear"),
    ],
)
def test_bad_input_is_told_at_the_door(make, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_the_table_names_stages() -> None:
    assert table["resize-pad"] is ResizePad
    assert all(stage.__name__ for stage in table.values())


def test_other_parameters_are_another_defence() -> None:
    assert ResizePad().identity() != ResizePad(interpolation="bilinear").identity()
