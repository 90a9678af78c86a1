"""Where implementations of these attacks are known to go wrong, one test each, named after the list we keep."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

import sparring as sp
from sparring import testing
from sparring.access import Keep, Reason
from sparring.attacks import BIM, FGSM, PGD, CarliniWagner, DeepFool, HopSkipJump, Restarts, Square, kurakin_steps
from sparring.errors import ConfigError, ThreatError
from sparring.geometry.region import Region
from sparring.goals import Margin
from sparring.rows import take

ALL = [
    FGSM(sp.Linf(0.2)), BIM(sp.Linf(0.2)), PGD(sp.Linf(0.2), steps=10), PGD(sp.L2(2.0), steps=10),
    PGD(sp.L1(20, share=0.05), steps=10), CarliniWagner(binary_search_steps=4, steps=30, learning_rate=0.05),
    DeepFool(), Square(sp.Linf(0.25), n_queries=150), Square(sp.L2(3.0), n_queries=150), HopSkipJump(steps=2),
    HopSkipJump(sp.Linf(), steps=2),
]  # fmt: skip


@pytest.fixture(params=ALL, ids=lambda attack: f"{attack.name} {attack.ball}")
def attack(request):
    return request.param


def flat_case(weights, images, bias=None):
    """A linear model with the given weights (classes, pixels) on images of one row of pixels."""
    layer = nn.Linear(weights.shape[1], len(weights)).double()
    with torch.no_grad():
        layer.weight.copy_(weights)
        layer.bias.copy_(torch.zeros(len(weights)) if bias is None else bias)
    module = nn.Sequential(nn.Flatten(), layer)
    images = images.double().view(len(images), 1, 1, -1)
    return testing.Case(module, images, module(images).argmax(1))


def run(attack, case, **options):
    return sp.run(attack, case.target, case.goal, case.images, **options)


@pytest.mark.parametrize("shift", [-1000.0, 1000.0])
def test_pitfall_03_margins_are_masked_not_multiplied(attack, shift):
    """All logits below zero, or far above: nothing but their differences may matter."""
    case = testing.small_net(5)
    moved = sp.Classifier(lambda x: case.module(x) + shift)
    plain, other = run(attack, case), sp.run(attack, moved, case.goal, case.images)
    assert torch.equal(plain.success, other.success)
    assert float((plain.examples - other.examples).abs().mean()) < 1e-6


@pytest.mark.parametrize("size", [1, 64])
def test_pitfall_07_gradients_are_sums_and_a_zero_leaves_its_pixel(size):
    weights = torch.tensor([[1.0, 0.0, -1.0], [0.0, 0.0, 0.0]])
    case = flat_case(weights, torch.tensor([[0.6, 0.5, 0.4]]).repeat(size, 1))
    scaled = testing.Case(nn.Sequential(case.module, Scale(1e-30)), case.images, case.labels)
    for one in (case, scaled):  # the mean over a batch would not underflow in one and vanish in the other
        goal = replace(one.goal, loss=Margin())
        asked = sp.run(FGSM(sp.Linf(0.05)), one.target, goal, one.images, keep=Keep.HIGHEST_LOSS).examples - one.images
        expected = torch.tensor([-0.05, 0.0, 0.05], dtype=torch.float64).view(1, 1, 1, 3).expand(size, 1, 1, 3)
        assert torch.allclose(asked, expected, atol=1e-12)


class Scale(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, z):
        return self.factor * z


def test_pitfall_09_kurakins_step_count_is_in_levels_of_255():
    assert [kurakin_steps(eps / 255) for eps in (1, 2, 4, 8, 16, 32)] == [1, 2, 5, 10, 20, 36]
    attack = BIM(sp.Linf(8 / 255), steps=kurakin_steps(8 / 255))
    region = Region.around(torch.full((1, 1, 2, 2), 0.5), attack.ball)
    assert attack.step_size_at(0, region) * attack.steps == pytest.approx(8 / 255)
    assert not attack.random_start


def test_pitfall_09_every_iterate_of_bim_is_in_ball_and_range():
    case, asked = testing.small_net(1), []

    def watching(x):
        asked.append(x.detach().clone())
        return case.module(x)

    image = case.images.clone().clamp(0.3, 0.7)
    image[0, :, :4] = 0.01
    goal = sp.Misclassify(case.module(image).argmax(1))
    sp.run(BIM(sp.Linf(0.05), step_size=0.03), sp.Classifier(watching), goal, image)
    stack = torch.cat(asked)
    assert len(stack) >= 3
    assert float(stack.min()) == 0.0
    assert float((stack - image).abs().max()) <= 0.05 + 1e-12


def test_pitfall_10_pgd_returns_what_succeeded_not_its_last_iterate():
    """A model that is fooled in a thin band only: later iterates are right again."""
    case = flat_case(torch.tensor([[1.0], [0.0]]), torch.tensor([[0.9]]), bias=torch.tensor([0.0, 0.0]))

    def band(x):
        v = x.flatten(1)
        fooled = ((v > 0.70) & (v < 0.76)).to(x.dtype)
        return torch.cat((v, 2 * fooled), 1)

    goal = sp.Misclassify(torch.tensor([0]))
    attack = PGD(sp.Linf(0.5), steps=20, step_size=0.05, random_start=False)
    outcome = sp.run(attack, sp.Classifier(band), goal, case.images, engine=sp.Engine(compact=False))
    assert outcome.success.all()
    assert 0.70 < float(outcome.examples) < 0.76
    assert int(outcome.queries_to_success) == 4
    assert int(outcome.passes.forwards) > 4


@pytest.mark.parametrize("ball", [sp.Linf(0.1), sp.L2(0.5), sp.L1(3, share=0.05)], ids=str)
def test_pitfall_10_iterates_at_the_edge_of_the_range_use_the_whole_radius(ball):
    """Clamping to the box after a radial projection would waste what the clamp cuts off."""
    weights = torch.tensor([[-1.0] * 8, [1.0] * 8])
    images = torch.tensor([[0.999, 0.999, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2]])
    case = flat_case(weights, images, bias=torch.tensor([30.0, -30.0]))
    goal = replace(case.goal, loss=Margin())
    outcome = sp.run(PGD(ball, steps=60), case.target, goal, case.images, keep=Keep.HIGHEST_LOSS)
    delta = outcome.examples - case.images
    if isinstance(ball, sp.Linf):
        assert torch.allclose(delta.flatten()[2:], torch.full((6,), 0.1, dtype=torch.float64))
    else:
        assert float(ball.norm(delta)) == pytest.approx(ball.eps, rel=1e-6)
    best = 0.002 + {"Linf": 0.6, "L2": math.sqrt(6) * math.sqrt(0.25 - 2e-6), "L1": 3 - 0.002}[type(ball).__name__]
    assert float(delta.sum()) == pytest.approx(best, rel=2e-2)


def test_pitfall_11_one_coordinate_is_steepest_in_l1_and_more_are_faster():
    case = testing.linear(2)
    best = testing.optimum(case, sp.L1())
    for share in (0.02, 0.2):
        attack = PGD(sp.L1(float(best.max()) * 1.3, share=share), steps=40)
        assert run(attack, case).success.all()


@pytest.mark.parametrize("kind", [sp.L2, sp.L1])
def test_pitfall_12_random_starts_are_uniform_in_the_ball(kind):
    """The norm of a start in n dimensions is eps * u^(1/n): seen at the first question of PGD."""
    x, starts = torch.full((3000, 1, 1, 3), 0.5, dtype=torch.float64), []

    def model(images):
        starts.append(images.detach().clone())
        flat = images.flatten(1)
        return torch.stack((flat.sum(1) + 9, flat[:, 0]), dim=1)

    goal = sp.Misclassify(torch.zeros(3000, dtype=torch.long))
    sp.run(PGD(kind(0.2), steps=1), sp.Classifier(model), goal, x, engine=sp.Engine(batch_size=3000))
    sizes = kind().norm(starts[1] - x) / 0.2
    for share in (0.4, 0.7, 0.9):
        assert float((sizes <= share).double().mean()) == pytest.approx(share**3, abs=0.03)
    assert float(sizes.max()) <= 1 + 1e-9


def test_pitfall_32_the_range_is_that_of_pixels_not_of_normalized_values(attack):
    """With mean and std in the target, images stay in [0, 1] whatever the model sees."""
    case, asked = testing.small_net(3), []

    def watching(x):
        asked.append(x.detach().clone())
        return case.module(x)

    class Watched(nn.Module):
        def __init__(self):
            super().__init__()
            self.module = case.module

        def forward(self, x):
            return watching(x)

    target = sp.Classifier(Watched(), mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
    goal = sp.Misclassify(target(case.images).argmax(1))
    outcome = sp.run(attack, target, goal, case.images)
    assert float(outcome.examples.min()) >= 0
    assert float(outcome.examples.max()) <= 1
    seen = torch.cat(asked[1:])
    mean, std = (torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in ((0.4, 0.5, 0.6), (0.2, 0.25, 0.3)))
    back = seen * std + mean
    assert float(back.min()) >= -1e-12
    assert float(back.max()) <= 1 + 1e-12


def test_pitfall_34_no_gradient_reaches_the_parameters(attack):
    case = testing.small_net(3)
    run(attack, case)
    assert all(p.grad is None and p.requires_grad for p in case.module.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pitfall_35_results_are_detached_and_keep_shape_and_dtype(attack, dtype):
    case = testing.small_net(4)
    images = case.images.to(dtype)
    kept = images.clone()
    outcome = sp.run(attack, sp.Classifier(case.module.to(dtype)), case.goal, images)
    assert outcome.examples.dtype == outcome.distance.dtype == dtype
    assert outcome.examples.shape == images.shape
    assert not outcome.examples.requires_grad
    assert outcome.examples.data_ptr() != images.data_ptr()
    assert torch.equal(images, kept)


def test_pitfall_36_a_row_does_not_know_its_neighbors(attack):
    case = testing.small_net(5)
    order = torch.tensor([3, 0, 4, 1, 2])
    plain = run(attack, case)
    for place in (0, 4):
        row = int(order[place])
        alone = sp.run(
            attack, case.target, take(case.goal, torch.tensor([row])), case.images[row : row + 1],
            indices=torch.tensor([row]),
        )  # fmt: skip
        assert float((alone.examples[0] - plain.examples[row]).abs().max()) < 1e-9


def test_pitfall_37_saturated_logits(attack):
    """Logits times 100: attacks that climb the margin do as well as before."""
    case = testing.small_net(5)
    target = sp.Classifier(lambda x: 100 * case.module(x))
    if isinstance(attack, FGSM | PGD):
        goal = replace(case.goal, loss=Margin())
        assert torch.equal(sp.run(attack, target, goal, case.images).success, run_margin(attack, case).success)
    else:
        assert torch.equal(sp.run(attack, target, case.goal, case.images).success, run(attack, case).success)


def run_margin(attack, case):
    return sp.run(attack, case.target, replace(case.goal, loss=Margin()), case.images)


def test_pitfall_38_a_wrong_row_is_returned_as_it_is(attack):
    case = testing.small_net(4)
    labels = case.labels.clone()
    labels[1] = (labels[1] + 1) % 4
    outcome = sp.run(attack, case.target, sp.Misclassify(labels), case.images)
    assert outcome.reasons[1] is Reason.ALREADY
    assert torch.equal(outcome.examples[1], case.images[1])
    assert float(outcome.distance[1]) == 0
    stood = torch.tensor([0, 2, 3])
    assert outcome.attack_success_rate == pytest.approx(float(outcome.success[stood].double().mean()))


@pytest.mark.parametrize("kind", [sp.Linf, sp.L2, sp.L1])
def test_pitfall_39_float32_rounding_stays_within_1e_6_of_the_ball(kind):
    case = testing.small_net(8)
    module = case.module.float()
    eps = {sp.Linf: 8 / 255, sp.L2: 0.5, sp.L1: 3.0}[kind]
    images = (case.images.float() * 255).round() / 255
    goal = sp.Misclassify(module(images).argmax(1))
    outcome = sp.run(PGD(kind(eps), steps=20), sp.Classifier(module), goal, images, keep=Keep.HIGHEST_LOSS)
    sizes = kind().norm((outcome.examples - images).double())
    assert float(sizes.max()) <= eps * (1 + 1e-6) + 1e-7
    assert float(sizes.max()) > 0.99 * eps
    assert float(outcome.examples.min()) >= 0
    assert float(outcome.examples.max()) <= 1


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("targeted", [False, True])
def test_few_classes_and_targeted_goals(attack, classes, targeted):
    case = testing.small_net(4)
    middle = case.module(case.images).detach().mean(0)

    def module(x):
        return (case.module(x) - middle)[:, :classes]

    labels = module(case.images).argmax(1)
    goal = sp.ClassifyAs((labels + 1) % classes) if targeted else sp.Misclassify(labels)
    outcome = sp.run(attack, sp.Classifier(module), goal, case.images)
    won = goal(module(outcome.examples)).margin > 0
    assert torch.equal(won, outcome.success)
    assert int(outcome.success.sum()) >= 3


@pytest.mark.parametrize("make", [FGSM, BIM, PGD, Square])
@pytest.mark.parametrize("ball", [sp.Linf(), sp.L2()], ids=str)
def test_a_radius_is_needed_where_it_is_spent(make, ball):
    with pytest.raises(ThreatError, match=rf"{make.__name__} needs a radius: pass {ball}\(eps\), or use"):
        make(ball)


@pytest.mark.parametrize(("make", "words"), [
    (lambda: PGD(sp.Linf(0.1), steps=0), "PGD steps=0; pass an integer >= 1"),
    (lambda: BIM(sp.Linf(0.1), step_size=-1.0), r"BIM step_size=-1\.0; pass a finite number > 0"),
    (lambda: CarliniWagner(binary_search_steps=0), "CarliniWagner binary_search_steps=0; pass an integer >= 1"),
    (lambda: DeepFool(candidates=1), "DeepFool candidates=1; pass an integer >= 2"),
    (lambda: Square(sp.Linf(0.1), p_init=0), "Square p_init=0; pass a finite number > 0 and <= 1"),
    (lambda: HopSkipJump(steps=0), "HopSkipJump steps=0; pass an integer >= 1"),
    (lambda: Restarts(FGSM(sp.Linf(0.1)), 0), "Restarts n_restarts=0; pass an integer >= 1"),
])  # fmt: skip
def test_parameters_that_make_no_sense(make, words):
    with pytest.raises(ConfigError, match=words):
        make()


@pytest.mark.parametrize(("make", "words"), [
    (lambda: CarliniWagner(ball=sp.Linf(0.1)), r"CarliniWagner knows L2, not Linf\(0\.1\)"),
    (lambda: DeepFool(ball=sp.L1()), "DeepFool knows L2 and Linf, not L1"),
    (lambda: Square(sp.L0(1)), r"Square knows Linf, L2 and L1, not L0\(1\)"),
    (lambda: HopSkipJump(sp.L0()), "HopSkipJump knows L2 and Linf, not L0"),
])  # fmt: skip
def test_norms_that_an_attack_does_not_know(make, words):
    with pytest.raises(ThreatError, match=words):
        make()
