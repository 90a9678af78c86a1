"""Our own evaluation: as strong as what it is made of, and short with rows that are out of reach."""

import pytest
import torch
from torch import nn

import sparring as sp
from sparring import testing
from sparring.access import Keep
from sparring.attacks import APGD, PGD, Auto, AutoAttack, Restarts, Square, Sweep
from sparring.rows import take
from sparring.zoo import load_data, load_model


def run(attack, target, goal, x, **options):
    return sp.run(attack, target, goal, x, **options)


@pytest.fixture(scope="module")
def digits():
    chunk = next(iter(load_data("zoo:mnist-heldout", input=None, limit=24).chunks(24)))
    return load_model("zoo:mnist-plain").target, sp.Misclassify(chunk.labels), chunk.images


@pytest.mark.parametrize(
    ("ball", "others"),
    [
        (sp.Linf(0.08), (Restarts(PGD(sp.Linf(0.08), steps=20), 2), APGD(sp.Linf(0.08), steps=40))),
        (sp.L2(1.0), (PGD(sp.L2(1.0), steps=40), APGD(sp.L2(1.0), steps=40))),
        (sp.L1(6.0), (PGD(sp.L1(6.0), steps=40),)),
    ],
    ids=str,
)
def test_it_leaves_no_more_standing_than_what_it_is_made_of(digits, ball, others):
    ours = run(Auto(ball), *digits)
    assert 0 < ours.robust_accuracy < 1
    for other in others:
        assert ours.robust_accuracy <= run(other, *digits).robust_accuracy, other.name
    assert (ball.norm(ours.examples - digits[2]) <= ball.eps + 1e-5).all()


def test_it_leaves_no_more_standing_than_autoattack_for_a_fifth_of_its_passes(digits):
    target, goal, images = digits
    few = torch.arange(24)
    theirs, ours = (run(attack(sp.Linf(0.08)), target, take(goal, few), images[few]) for attack in (AutoAttack, Auto))
    assert ours.robust_accuracy <= theirs.robust_accuracy
    passes = [float((o.passes.forwards + o.passes.backwards).sum()) for o in (ours, theirs)]
    assert passes[0] <= passes[1] / 5


def test_a_row_far_from_every_boundary_is_given_up_and_one_within_reach_is_not():
    """A linear margin: the first row cannot be won by far, the second only just cannot."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).double()
    with torch.no_grad():
        net[1].weight.copy_(torch.stack((torch.ones(16), -torch.ones(16))))
        net[1].bias.copy_(torch.tensor([-8.0, 8.0]))
    images = torch.full((2, 1, 4, 4), 0.9, dtype=torch.float64)
    images[1] = 0.5 + 0.1005
    outcome = run(Sweep(sp.Linf(0.1), blocks=3), sp.Classifier(net), sp.Misclassify(torch.tensor([0, 0])), images)
    assert not outcome.success.any()
    spent = (outcome.passes.forwards + outcome.passes.backwards).tolist()
    assert spent[0] < 200
    assert spent[1] > 3 * spent[0]


def test_queries_go_on_where_gradients_end():
    """Saturated activations: no slope anywhere near, but scores still move."""
    case = testing.small_net(12)

    class Stairs(nn.Module):
        def forward(self, x):
            return torch.round(40 * case.module(x)) / 40 + 0 * x.sum()

    goal, target = case.goal, sp.Classifier(Stairs())
    outcome = run(Sweep(sp.Linf(0.1), blocks=1), target, goal, case.images)
    square = run(Square(sp.Linf(0.1), n_queries=100), target, goal, case.images)
    blind = run(PGD(sp.Linf(0.1), steps=40), target, goal, case.images)
    assert outcome.success.sum() > blind.success.sum()
    assert outcome.success.sum() >= square.success.sum() - 1


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("make", [Auto, AutoAttack])
def test_few_classes_and_targeted_goals(make, classes, targeted):
    case = testing.linear(classes)
    goal = sp.ClassifyAs((case.labels + 1) % classes) if targeted else case.goal
    attack = make(sp.Linf(0.25)) if make is Auto else make(sp.Linf(0.25), steps=10, n_queries=20)
    outcome = run(attack, case.target, goal, case.images)
    assert outcome.success.all()
    with torch.no_grad():
        won = goal(case.module(outcome.examples)).margin > 0
    assert won.all()


def test_binary_models_and_hugging_face_outputs():
    case = testing.linear(2)

    class Single(nn.Module):
        def forward(self, x):
            logits = case.module(x)
            return {"logits": logits[:, 1:] - logits[:, :1]}

    target = sp.Classifier(Single(), binary=True)
    for attack in (Auto(sp.Linf(0.25)), AutoAttack(sp.Linf(0.25), steps=10, n_queries=20)):
        outcome = run(attack, target, case.goal, case.images)
        assert outcome.success.all()


def test_the_worst_is_kept_for_training():
    case = testing.small_net(6)
    attack = Sweep(sp.Linf(0.02), blocks=1, gradient_steps=5, odi_steps=2, n_queries=5)
    outcome = run(attack, case.target, case.goal, case.images, keep=Keep.HIGHEST_LOSS)
    before, after = (case.goal(case.module(x)).loss.detach() for x in (case.images, outcome.examples))
    assert (after > before).all()


def test_bad_parameters():
    with pytest.raises(sp.errors.ThreatError, match="Auto knows Linf, L2 and L1, not L0"):
        Auto(sp.L0(5))
    with pytest.raises(sp.errors.ThreatError, match="Auto needs a radius"):
        Auto(sp.Linf())
    with pytest.raises(sp.errors.ConfigError, match="blocks=0"):
        Sweep(sp.Linf(0.1), blocks=0)
