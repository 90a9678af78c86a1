"""DeepFool in Linf, and SuperDeepFool."""

import math

import pytest
import torch
from torch import nn

import sparring as sp
from sparring import testing
from sparring.attacks import DDN, DeepFool
from sparring.attacks.minimal.superdeepfool import SuperDeepFool
from sparring.errors import ConfigError, ThreatError


def run(attack, case, goal=None, **options):
    return sp.run(attack, case.target, goal or case.goal, case.images, **options)


class Ellipse(nn.Module):
    """Two classes; the boundary is an ellipse around the middle of an image of two pixels."""

    halves = torch.tensor([0.4, 0.12], dtype=torch.float64)

    def forward(self, images):
        lead = ((images.flatten(1) - 0.5) / self.halves).square().sum(1) - 1
        return torch.stack((-lead, lead), dim=1)


def inside_the_ellipse():
    """Images inside, and how far the ellipse is from each, by a fine walk along it."""
    images = 0.5 + torch.tensor([[0.1, 0.05], [-0.2, 0.03], [0.25, -0.04], [0.05, 0.02]], dtype=torch.float64)
    angle = torch.linspace(0, 2 * math.pi, 200_001, dtype=torch.float64)
    edge = 0.5 + torch.stack((angle.cos(), angle.sin()), dim=1) * Ellipse.halves
    case = testing.Case(Ellipse(), images.view(-1, 1, 1, 2), torch.zeros(len(images), dtype=torch.long))
    return case, torch.stack([(edge - image).norm(dim=1).min() for image in images])


@pytest.mark.parametrize(
    "attack", [SuperDeepFool(df_steps=2), SuperDeepFool(projection_steps=3), SuperDeepFool(search_iter=0)], ids=str
)
def test_laws_of_the_variants(attack):
    testing.check_attack(attack, tolerance=1e-9, ratio=1.03)


@pytest.mark.filterwarnings("ignore")  # Foolbox's own
@pytest.mark.parametrize("ball", [sp.Linf(), sp.L2()], ids=str)
@pytest.mark.parametrize("classes", [2, 3, 7])
def test_deepfool_walks_as_far_as_foolbox(ball, classes):
    import foolbox

    case = testing.linear(classes, 24) if classes == 7 else testing.small_net(24)
    model = foolbox.PyTorchModel(case.module.eval(), bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.L2DeepFoolAttack if ball == sp.L2() else foolbox.attacks.LinfDeepFoolAttack
    found = attack(steps=50, candidates=classes).run(model, case.images, case.labels)
    theirs = ball.norm(found - case.images)
    outcome = run(DeepFool(candidates=classes, ball=ball), case)
    assert outcome.success.all()
    ratio = outcome.distance / theirs
    assert float(ratio.median()) < 1.0001
    assert float(ratio.max()) < 1.1
    assert float(ratio.min()) > 0.8


def test_pitfall_17_deepfool_in_linf_lands_strictly_across():
    """A bare relative overshoot leaves rows on the boundary; float32 is where that shows."""
    case = testing.linear(4)
    single = testing.Case(case.module.float(), case.images.float(), case.labels)
    outcome = run(DeepFool(overshoot=0.0, ball=sp.Linf()), single)
    assert outcome.success.all()
    assert (outcome.passes.forwards <= 3).all()
    assert (single.goal(single.module(outcome.examples)).margin > 0).all()


def test_pitfall_17_the_slack_in_linf_is_small_beside_short_ways():
    """On photographs the way across is a few 1e-4 in Linf, and a slack of 1e-4 would lengthen it by a half."""
    case = testing.linear(3)
    near = 0.5 + (case.images - 0.5) * 1e-2
    case = testing.Case(case.module, near, case.labels)
    best = testing.cases.optimum(case, sp.Linf())
    assert float(best.max()) < 3e-4
    outcome = run(DeepFool(ball=sp.Linf()), case)
    assert outcome.success.all()
    assert float((outcome.distance / best).max()) < 1.2


@pytest.mark.parametrize("attack", [DeepFool(ball=sp.Linf()), SuperDeepFool()], ids=["linf", "super"])
def test_pitfall_17_classes_without_a_slope(attack):
    """A class with a constant lead has no boundary; one with the image's own gradient only has none either."""
    layer = nn.Linear(2, 3).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2.0], [1.0, 2.0], [-1.0, 0.5]]))
        layer.bias.copy_(torch.tensor([0.5, 0.4, 1.0]))
    module = nn.Sequential(nn.Flatten(), layer)
    images = torch.tensor([[0.6, 0.6], [0.7, 0.5]], dtype=torch.float64).view(2, 1, 1, 2)
    case = testing.Case(module, images, module(images).argmax(1))
    outcome = run(attack, case)
    assert outcome.success.all()
    assert outcome.examples.isfinite().all()
    assert (module(outcome.examples).argmax(1) == 2).all()


@pytest.mark.parametrize("attack", [DeepFool(ball=sp.Linf()), SuperDeepFool()], ids=["linf", "super"])
def test_a_net_without_slopes_ends_without_nan(attack):
    class Flat(nn.Module):
        def forward(self, images):
            return torch.stack((images.sum((1, 2, 3)) * 0 + 2, images.sum((1, 2, 3)) * 0), dim=1)

    images = torch.full((2, 1, 2, 2), 0.5, dtype=torch.float64)
    outcome = run(attack, testing.Case(Flat(), images, torch.zeros(2, dtype=torch.long)))
    assert not outcome.success.any()
    assert torch.equal(outcome.examples, images)


@pytest.mark.parametrize("attack", [DeepFool(ball=sp.Linf()), SuperDeepFool()], ids=["linf", "super"])
def test_targets_are_reached(attack):
    case = testing.linear(3)
    goal = sp.ClassifyAs((case.labels + 1) % 3)
    outcome = run(attack, case, goal)
    assert outcome.success.all()
    assert (case.module(outcome.examples).argmax(1) == goal.classes).all()
    assert (outcome.distance > 0.99 * run(attack, case).distance).all()  # a boundary that is named is no nearer


def test_superdeepfool_ends_on_the_normal_of_a_curved_boundary():
    """DeepFool meets the ellipse where its own last slope points; the nearest point has the whole way as its normal."""
    case, best = inside_the_ellipse()
    walked, turned = run(DeepFool(), case), run(SuperDeepFool(), case)
    assert turned.success.all()
    assert float((turned.distance / best).max()) < 1.002
    assert float((turned.distance / best).min()) > 0.9999
    assert float((walked.distance / best).max()) > 1.05
    at = turned.examples.clone().requires_grad_()
    (slope,) = torch.autograd.grad(case.goal(case.module(at)).margin.sum(), at)
    cosine = torch.cosine_similarity(slope.flatten(1), (turned.examples - case.images).flatten(1))
    assert float(cosine.min()) > 0.995


def test_superdeepfool_is_as_near_as_ddn_in_a_fraction_of_the_passes():
    case = testing.small_net(12)
    ours, walked, slow = run(SuperDeepFool(), case), run(DeepFool(), case), run(DDN(steps=300), case)
    assert ours.success.all()
    assert (ours.distance < walked.distance).all()
    assert float((ours.distance / slow.distance).median()) < 1.005
    assert int(ours.passes.backwards.max()) < 40


def test_superdeepfool_pays_for_its_classes_once():
    """The first gradient costs one backward pass a class, the others one, and the search none."""
    outcome = run(SuperDeepFool(candidates=4, search_iter=3), testing.small_net(8))
    gradients = outcome.passes.forwards - 3
    assert (gradients >= 3).all()
    assert torch.equal(outcome.passes.backwards, gradients - 1 + 3)


def test_the_line_search_ends_at_the_boundary():
    """Four forward passes leave less than a thousandth of the 2 % (or 30 %) that the walk has overshot by."""
    case = testing.linear(2)
    best = testing.cases.optimum(case, sp.L2())
    rough = run(SuperDeepFool(overshoot=0.3, search_iter=0, steps=2), case).distance / best
    fine = run(SuperDeepFool(overshoot=0.3, search_iter=4, steps=2), case).distance / best
    assert float(rough.min()) > 1.2
    assert float(fine.max()) < 1.0005


def test_bad_input_is_refused():
    with pytest.raises(ThreatError, match="DeepFool knows L2 and Linf, not L1; use FMN there"):
        DeepFool(ball=sp.L1())
    with pytest.raises(ThreatError, match="SuperDeepFool knows L2, not Linf; use DeepFool or FMN there"):
        SuperDeepFool(ball=sp.Linf())
    for wrong in ({"steps": 0}, {"df_steps": 0}, {"projection_steps": 0}, {"candidates": 1}, {"search_iter": -1},
                  {"overshoot": -0.1}):  # fmt: skip
        (name,) = wrong
        with pytest.raises(ConfigError, match=rf"SuperDeepFool {name}=.*; pass "):
            SuperDeepFool(**wrong)
