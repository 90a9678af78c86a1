"""FAB and FAB-T: the laws, the walk on linear models step by step, and the pitfalls of our list."""

import pytest
import torch
from torch import nn

import sparring as sp
from sparring import testing
from sparring.access import Keep, Reason
from sparring.attacks import Restarts, Rivals
from sparring.attacks.minimal.fab import FAB, FABT
from sparring.errors import ConfigError, ThreatError
from sparring.goals import RivalMargin

BALLS = [sp.Linf(), sp.L2(), sp.L1()]


def fab_t(ball, steps=5, count=2, **settings):
    return Rivals(FABT(ball, steps=steps, linearize_loss=True, **settings), count, loss=RivalMargin)


SHORT = [FABT(sp.Linf(), steps=6), FABT(sp.L1(), steps=6), Restarts(FABT(sp.Linf(), steps=4, random_start=True), 2)]


def run(attack, case, **options):
    return sp.run(attack, case.target, case.goal, case.images, **options)


def asked_about(attack, case):
    """The images that the attack asks about, one row at a time, without the engine's own looks."""
    asked = []

    def watching(x):
        asked.append(x.detach().clone())
        return case.module(x)

    outcome = sp.run(attack, sp.Classifier(watching), case.goal, case.images)
    return torch.cat(asked[1:-1]), outcome


@pytest.mark.parametrize("attack", SHORT, ids=lambda attack: f"{attack.name} {attack.ball}")
def test_the_laws(attack):
    testing.check_attack(attack, tolerance=1e-9, ratio=None)


@pytest.mark.parametrize("ball", BALLS, ids=str)
def test_closed_form(ball):
    testing.check_closed_form(fab_t(ball, steps=20, count=3), ratio=1.0005)
    testing.check_closed_form(FABT(ball, steps=30), ratio=1.0005, classes=2)


@pytest.mark.parametrize("make", [FAB, FABT])
@pytest.mark.parametrize("ball", BALLS, ids=str)
def test_the_walk_on_a_linear_model_is_the_papers(make, ball):
    """On two linear classes all points lie on one ray: in units of the distance, x_i is a number."""
    case = testing.linear(2, count=1)
    best = testing.optimum(case, ball)
    asked, _ = asked_about(make(ball, steps=6, alpha_max=0.1, eta=1.05, beta=0.9), case)
    place, expected = 0.0, []
    for _ in range(6):
        expected.append(place)
        stand = 0.9 * place if place > 1 else place
        alpha = min(0.1, abs(1 - stand) / (abs(1 - stand) + 1))
        place = (1 - alpha) * (stand + 1.05 * (1 - stand)) + alpha * 1.05
    sizes = ball.norm(asked - case.images) / best
    assert torch.allclose(sizes[:6], torch.tensor(expected, dtype=sizes.dtype), atol=1e-9)
    assert len(asked) == 6 + 1 + 3  # steps, last point, search


def test_the_final_search_closes_in_on_the_boundary():
    case = testing.small_net(8)
    outcome = run(FABT(sp.L2(), steps=20), case)
    assert outcome.success.all()
    with torch.no_grad():
        margin = case.goal(case.module(outcome.examples)).margin
    inward = outcome.examples + 2e-3 * (case.images - outcome.examples)
    with torch.no_grad():
        assert (case.goal(case.module(inward)).margin < 0).all()
    assert (margin > 0).all()


def test_pitfall_19_a_step_is_one_gradient_pass():
    """Peers take two forward passes a step; the untargeted form one backward pass for each rival."""
    case = testing.small_net(4)
    spent = run(FABT(sp.L2(), steps=9), case).passes
    assert (spent.forwards == 9 + 1 + 3).all()
    assert (spent.backwards == 9).all()
    spent = run(FAB(sp.L2(), steps=9, n_target_classes=2), case).passes
    assert (spent.forwards == 9 + 1 + 3).all()
    assert (spent.backwards == 18).all()
    assert FAB(sp.L2()).access is sp.Jacobians
    assert FABT(sp.L2()).access is sp.Gradients


def test_pitfall_19_the_smallest_is_kept_and_success_within_eps_is_another_matter():
    case = testing.small_net(8)
    free = run(FAB(sp.L2(), steps=15), case)
    assert FAB(sp.L2()).keep is Keep.SMALLEST
    eps = float(free.distance.median())
    held = run(FAB(sp.L2(eps), steps=15), case)
    assert torch.equal(held.success, free.distance <= eps)
    assert set(held.reason[~held.success].tolist()) == {int(Reason.EXHAUSTED)}


def flat_case(weights, bias, pixels):
    """A linear model on one image of four pixels, of class 0."""
    layer = nn.Linear(4, len(weights)).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weights))
        layer.bias.copy_(torch.tensor(bias))
    image = torch.tensor(pixels, dtype=torch.float64).view(1, 1, 1, 4)
    return testing.Case(nn.Sequential(nn.Flatten(), layer), image, torch.zeros(1, dtype=torch.long))


@pytest.mark.parametrize(("ball", "least"), [(sp.Linf(), 0.1), (sp.L2(), 0.6 / 14**0.5), (sp.L1(), 0.2)], ids=str)
def test_pitfall_19_the_projection_knows_the_valid_range(ball, least):
    """The steepest pixel is white already: the others have to go farther, and by exactly this much."""
    case = flat_case([[0.0, 0.0, 0.0, 0.0], [4.0, 3.0, 2.0, 1.0]], [0.0, -7.6], [1.0, 0.5, 0.5, 0.5])
    outcome = run(FAB(ball, steps=20), case)
    assert float(outcome.distance) == pytest.approx(least, rel=1e-3)
    assert float(outcome.examples[0, 0, 0, 0]) == 1


def test_the_rivals_are_walked_to_one_by_one():
    """With the margin alone the walk follows the leader; against each rival in turn it finds what is nearer."""
    case = testing.small_net(12)
    alone, rivals = run(FABT(sp.L2(), steps=15), case), run(fab_t(sp.L2(), steps=15, count=3), case)
    every = run(FAB(sp.L2(), steps=15), case)
    assert rivals.success.all()
    assert (rivals.distance <= alone.distance * 1.01).all()
    assert float((rivals.distance / every.distance).max()) < 1.05
    assert (rivals.passes.backwards == 45).all()


def test_pitfall_19_the_nearest_class_is_not_the_one_with_the_highest_logit():
    """The second class leads and is far; the third is behind and near. The margin's own boundary leads astray."""
    case = flat_case([[0.0, 0.0, 0.0, 0.0], [0.2, 0.2, 0.0, 0.0], [0.0, 0.0, 2.0, 2.0]], [0.0, -0.3, -2.3], [0.5] * 4)
    near, far = 0.3 / 8**0.5, 0.1 / 0.08**0.5
    sizes = [float(run(attack, case).distance) for attack in (FABT(sp.L2()), FAB(sp.L2()), fab_t(sp.L2(), steps=20))]
    assert sizes == pytest.approx([far, near, near], rel=1e-3)
    deaf = Rivals(FABT(sp.L2()), 2, loss=RivalMargin)
    assert float(run(deaf, case).distance) == pytest.approx(far, rel=1e-3)
    assert (deaf.name, fab_t(sp.L2()).name) == ("FABT-T", "FAB-T")


@pytest.mark.parametrize("make", [FAB, FABT])
@pytest.mark.parametrize("classes", [2, 3])
def test_targeted_goals_and_few_classes(make, classes):
    case = testing.small_net(5)
    middle = case.module(case.images).detach().mean(0)

    def module(x):
        return (case.module(x) - middle)[:, :classes]

    labels = module(case.images).argmax(1)
    for goal in (sp.ClassifyAs((labels + 1) % classes), sp.Misclassify(labels)):
        outcome = sp.run(make(sp.L2(), steps=20), sp.Classifier(module), goal, case.images)
        assert (goal(module(outcome.examples)).margin > 0).all()
        assert outcome.success.all()


@pytest.mark.parametrize("ball", BALLS, ids=str)
def test_random_starts_lie_within_half_the_linear_distance(ball):
    case = testing.linear(2, count=3)
    best = testing.optimum(case, ball)
    starts = []
    for row in range(3):
        one = testing.Case(case.module, case.images[row : row + 1], case.labels[row : row + 1])
        asked, _ = asked_about(FABT(ball, steps=2, random_start=True), one)
        starts.append(asked[1] - case.images[row])
    sizes = ball.norm(torch.stack(starts)) / best
    assert torch.allclose(sizes, torch.full_like(sizes, 0.5), atol=1e-9)


def test_restarts_begin_elsewhere_and_lose_nothing():
    case = testing.small_net(6)
    attack = FABT(sp.L2(), steps=6, random_start=True)
    one, three = run(attack, case), run(Restarts(attack, 3), case)
    assert (three.distance <= one.distance).all()
    assert (three.distance < one.distance).any()


def test_a_model_without_slope_ends_without_nan():
    case = testing.small_net(3)
    flat = sp.Classifier(lambda x: 0 * case.module(x) + torch.tensor([3.0, 2.0, 1.0, 0.0]))
    for attack in (FAB(sp.Linf(), steps=4), FABT(sp.L1(), steps=4), FABT(sp.L2(), steps=4, random_start=True)):
        outcome = sp.run(attack, flat, sp.Misclassify(torch.zeros(3, dtype=torch.long)), case.images)
        assert outcome.reasons == [Reason.NO_GRADIENT] * 3
        assert torch.equal(outcome.examples, case.images)


@pytest.mark.parametrize("make", [FAB, FABT])
def test_bad_parameters(make):
    with pytest.raises(ThreatError, match=rf"{make.__name__} knows Linf, L2 and L1, not L0"):
        make(sp.L0())
    with pytest.raises(ConfigError, match=rf"{make.__name__} steps=0; pass an integer >= 1"):
        make(sp.L2(), steps=0)
    with pytest.raises(ConfigError, match=r"eta=0\.9"):
        make(sp.L2(), eta=0.9)
    with pytest.raises(ConfigError, match=r"beta=0;"):
        make(sp.L2(), beta=0)
    with pytest.raises(ConfigError, match="FAB n_target_classes=0; pass an integer >= 1"):
        FAB(sp.L2(), n_target_classes=0)
