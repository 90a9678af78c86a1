"""Penalties of an artifact against loops and closed forms, and how they enter an attack."""

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sparring as sp
from sparring import testing
from sparring.errors import ConfigError, InputError, TargetError
from sparring.goals import RegularizedOutputs
from sparring.physical import (
    AffinePrinter,
    BoxAnchor,
    ContentDistance,
    GamutPrinter,
    NonPrintability,
    OutOfGamut,
    TotalVariation,
    optimization_family,
)
from sparring.physical.colour import to_lab
from sparring.targets import OverScenes, Penalty, Regularized
from sparring.testing.cases import draw

X = draw("artifact", (2, 3, 5, 6)).sigmoid()
PALETTE = draw("palette", (7, 3)).sigmoid()
CUBE = torch.tensor(list(itertools.product((0.2, 0.7), repeat=3))).double()
PENALTIES = [
    TotalVariation(),
    *(NonPrintability(palette=PALETTE, kind=kind) for kind in ("min", "softmin", "product")),
    OutOfGamut(palette=CUBE),
    ContentDistance(reference=draw("reference", (3, 5, 6)).sigmoid()),
]
MASK = torch.zeros(5, 6).double()
MASK[1:4, 2:5] = 1


def test_total_variation_is_that_of_a_loop() -> None:
    total = 0.0
    for c, i, j in itertools.product(range(3), range(5), range(6)):
        down = X[0, c, i + 1, j] - X[0, c, i, j] if i < 4 else 0.0
        across = X[0, c, i, j + 1] - X[0, c, i, j] if j < 5 else 0.0
        total += math.sqrt(float(down**2 + across**2))
    assert float(TotalVariation(smoothing=1e-9)(X)[0]) == pytest.approx(total / 90, abs=1e-8)


def test_the_gradient_is_finite_on_flat_grey_and_on_a_printable_colour() -> None:
    grey = torch.full((1, 3, 5, 6), 0.5).double().requires_grad_()
    printable = PALETTE[0][None, :, None, None].expand(1, 3, 5, 6).clone().requires_grad_()
    for penalty in PENALTIES:
        for x in (grey, printable):
            assert torch.autograd.grad(penalty(x).sum(), x)[0].isfinite().all()
    assert torch.autograd.grad(TotalVariation()(grey).sum(), grey)[0].abs().max() == 0


@pytest.mark.parametrize("penalty", PENALTIES, ids=lambda one: type(one).__name__)
def test_gradients_and_rows(penalty: Penalty) -> None:
    assert torch.autograd.gradcheck(penalty, X.clone().requires_grad_(), eps=1e-7, atol=1e-5)
    assert torch.equal(penalty(X)[1:], penalty(X[1:]))
    assert penalty(X).shape == (2,)


@pytest.mark.parametrize("penalty", PENALTIES, ids=lambda one: type(one).__name__)
def test_under_a_mask_only_paper_counts(penalty: Penalty) -> None:
    masked = type(penalty)(
        **{**vars(penalty), "mask": MASK} if not isinstance(penalty, OutOfGamut) else {"palette": CUBE, "mask": MASK}
    )
    other = torch.where(MASK.bool(), X, 1 - X)
    assert (masked(other) - masked(X)).abs().max() < 1e-12
    assert (masked(torch.where(MASK.bool(), X / 2, X)) - masked(X)).abs().max() > 1e-4


def test_non_printability_is_that_of_a_loop() -> None:
    least, product = [], []
    for i, j in itertools.product(range(5), range(6)):
        distances = [float((X[0, :, i, j] - colour).norm()) for colour in PALETTE]
        least.append(min(distances))
        product.append(math.prod(distances))
    for kind, values in (("min", least), ("product", product)):
        made = float(NonPrintability(palette=PALETTE, kind=kind)(X)[0])
        assert made == pytest.approx(sum(values) / 30, rel=1e-9)
    soft = float(NonPrintability(palette=PALETTE, temperature=1e-4)(X)[0])
    assert soft == pytest.approx(sum(least) / 30, abs=1e-4 * math.log(7))


def test_printed_colours_are_printable_and_neon_is_not() -> None:
    neon = torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1, 1).double()
    for printer in (AffinePrinter(), GamutPrinter()):
        palette = printer.palette().double()
        inside = palette.mean(0).view(1, 3, 1, 1)
        penalty = OutOfGamut(palette=palette)
        assert float(penalty(inside)) == 0
        assert float(penalty(neon)) > 0.05
        assert float(NonPrintability(palette=palette)(neon)) > float(NonPrintability(palette=palette)(inside))


def test_the_distance_from_a_cube_is_known() -> None:
    outside = torch.tensor([[0.9, 0.5, 0.5], [0.5, 0.5, 0.05]]).double()[:, :, None, None]
    assert (OutOfGamut(palette=CUBE)(outside) - torch.tensor([0.2, 0.15]).double()).abs().max() < 1e-6


def test_lab_has_its_published_values() -> None:
    """White, black, mid grey and the primaries of sRGB under D65."""
    colours = torch.tensor([[1.0, 1, 1], [0, 0, 0], [1, 0, 0], [0, 0, 1]]).double()[:, :, None, None]
    wanted = torch.tensor([[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20], [32.30, 79.19, -107.86]]).double()
    assert (to_lab(colours)[:, :, 0, 0] - wanted).abs().max() < 0.02


class Stripes(nn.Module):
    """Logits (B, 2) that grow with the difference of neighbouring columns."""

    def forward(self, x: Tensor) -> Tensor:
        seen = (x[:, :, :, ::2].mean((1, 2, 3)) - x[:, :, :, 1::2].mean((1, 2, 3))) * 10
        return torch.stack((torch.full_like(seen, 0.1), seen), 1)


def attack(weight: float | None) -> tuple[Tensor, Tensor]:
    images = torch.full((2, 3, 8, 8), 0.5)
    target: sp.targets.Target = sp.Classifier(Stripes())
    if weight is not None:
        target = Regularized(target, TotalVariation(weight=weight))
    pgd = sp.attacks.PGD(sp.Linf(0.1), steps=20, random_start=False)
    outcome = sp.run(pgd, target, sp.Misclassify(torch.zeros(2).long()), images, keep=sp.Keep.HIGHEST_LOSS)
    return outcome.examples, outcome.success


def test_a_penalty_enters_the_loss_and_not_success() -> None:
    free, won = attack(None)
    smooth, still_won = attack(1.0)
    flat, _ = attack(1000.0)
    variation = [float(TotalVariation()(x).mean()) for x in (free, smooth, flat)]
    assert bool(won.all())
    assert variation[2] < 0.2 * variation[0]
    assert variation[1] <= variation[0]
    assert bool(still_won.all())


def test_the_loss_is_the_goals_less_the_penalty() -> None:
    x, goal = X[:, :, :4, :4], sp.Misclassify(torch.zeros(2).long())
    inner = sp.Classifier(Stripes().double())
    target = Regularized(inner, TotalVariation(weight=2.0), NonPrintability(palette=PALETTE, weight=3.0))
    outputs, adapted = target(x), target.adapt_goal(goal)
    penalty = 2 * TotalVariation()(x) + 3 * NonPrintability(palette=PALETTE)(x)
    assert isinstance(outputs, RegularizedOutputs)
    assert torch.equal(adapted.margin(outputs), goal.margin(inner(x)))
    assert torch.allclose(adapted.loss_of(outputs, sp.goals.Margin()), goal.margin(inner(x)) - penalty)
    assert torch.equal(adapted.margin(inner(x)), goal.margin(inner(x)))
    testing.check_target(target, x)


@pytest.mark.parametrize(
    "attack",
    [
        sp.attacks.PGD(sp.Linf(0.1), steps=8),
        sp.attacks.APGD(sp.Linf(0.1), steps=8),
        sp.attacks.MIFGSM(sp.Linf(0.1), steps=8),
        sp.attacks.CarliniWagner(sp.L2(), steps=20, binary_search_steps=1, initial_const=1.0),
    ],
    ids=lambda one: type(one).__name__,
)
def test_every_gradient_query_has_the_penalty_in_it(attack: Any) -> None:
    """What an attack ascends differs by the gradient of the penalty, whichever objective it has."""
    slopes = []
    x = draw("varied", (2, 3, 8, 8)).sigmoid()
    for weight in (0.0, 1e3):
        asked: list[Tensor] = []

        class Watched(Stripes):
            def forward(self, x: Tensor, asked: list[Tensor] = asked) -> Tensor:
                if x.requires_grad:
                    asked.append(x.detach())
                return super().forward(x)

        target = Regularized(sp.Classifier(Watched().double()), TotalVariation(weight=weight))
        sp.run(attack, target, sp.Misclassify(torch.ones(2).long()), x)
        slopes.append(asked[-1])
    variation = [float(TotalVariation()(one).mean()) for one in slopes]
    assert variation[1] < 0.95 * variation[0]


def test_a_perturbation_for_all_images_is_regularized() -> None:
    x = torch.full((8, 3, 8, 8), 0.5) + 0.05 * draw("some", (8, 1, 1, 1)).float()
    variation = []
    for weight in (0.0, 100.0):
        target = Regularized(sp.Classifier(Stripes()), TotalVariation(weight=weight))
        attack = sp.attacks.GradientUniversal(sp.Linf(0.1), epochs=20)
        fitted = sp.fit(attack, target, sp.Misclassify(torch.zeros(8).long()), x)
        variation.append(float(TotalVariation()(fitted.artifact.apply(x)).mean()))
    assert variation[1] < 0.5 * variation[0]


def test_penalties_inside_scenes_are_refused() -> None:
    inside = sp.Pipeline(Regularized(sp.Classifier(Stripes()), TotalVariation()), optimization_family())
    with pytest.raises(TargetError, match="put them around it"):
        OverScenes(inside, sp.Misclassify(torch.zeros(2).long()), sp.Scene(images=torch.rand(2, 3, 9, 9)))


def test_an_artifact_over_scenes_is_regularized() -> None:
    images, goal = torch.full((4, 3, 16, 16), 0.5), sp.Misclassify(torch.zeros(4).long())
    chain = optimization_family(BoxAnchor(0.8))
    scenes = OverScenes(sp.Pipeline(sp.Classifier(Stripes()), chain), goal, sp.Scene(images=images), 2)
    target = Regularized(scenes, TotalVariation(weight=100.0))
    start = draw("start", (1, 3, 8, 8)).sigmoid().float()
    keep = sp.Keep.HIGHEST_LOSS
    outcome = sp.run(
        sp.attacks.PGD(sp.Linf(0.2), steps=6), target, sp.goals.FoolScenes(torch.zeros(1)), start, keep=keep
    )
    assert float(TotalVariation()(outcome.examples)) < float(TotalVariation()(start))


@pytest.mark.wrong_types
def test_bad_penalties_are_refused() -> None:
    with pytest.raises(ConfigError, match="no volume"):
        OutOfGamut(palette=torch.rand(5, 3) * torch.tensor([1.0, 1, 0]))
    with pytest.raises(ConfigError, match="kind"):
        NonPrintability(palette=PALETTE, kind="max")
    with pytest.raises(InputError, match="reference"):
        ContentDistance(reference=torch.rand(3, 4, 4))(X)
    with pytest.raises(InputError, match="mask"):
        TotalVariation(mask=torch.ones(4, 4))(X)
    with pytest.raises(ConfigError, match="weight"):
        TotalVariation(weight=-1.0)
    with pytest.raises(ConfigError, match="no penalty"):
        Regularized(sp.Classifier(Stripes()))
    with pytest.raises(TargetError, match="wrap it"):
        Regularized(Stripes(), TotalVariation())  # type: ignore[type-var]
