"""The log-odds: the cross-entropy's direction, also where that has none left."""

import torch

import sparring as sp
from sparring import testing
from sparring.attacks import (
    APGD,
    BIM,
    DDN,
    FGSM,
    JSMA,
    L1APGD,
    MIFGSM,
    MSD,
    NIFGSM,
    PGD,
    AutoAttack,
    ScaleInvariance,
    TransferAttack,
)
from sparring.defenses.randomization import InputNoise
from sparring.goals import (
    DLR,
    ClassifyAs,
    CrossEntropy,
    DetectorOutputs,
    LogOdds,
    Margin,
    Misclassify,
    PowerMargin,
    ScaledCrossEntropy,
    Undetected,
)
from sparring.targets import Classifier, Defended

LABELS = torch.tensor([2, 0, 1])


def _slope(loss, logits, goal):
    logits = logits.detach().requires_grad_()
    return torch.autograd.grad(goal(LABELS).loss_of(logits, loss).sum(), logits)[0]


def test_the_direction_is_the_cross_entropys_in_both_ways():
    logits = testing.cases.draw("logits", (3, 5))
    for goal in (Misclassify, ClassifyAs):
        ours, theirs = (_slope(loss, logits, goal) for loss in (LogOdds(), CrossEntropy()))
        ratio = theirs.norm(dim=1) / ours.norm(dim=1)
        assert torch.allclose(ours * ratio[:, None], theirs, atol=1e-12)
    share = logits.softmax(1).gather(1, LABELS[:, None]).squeeze(1)
    assert torch.allclose(Misclassify(LABELS).loss_of(logits, LogOdds()), (1 / share - 1).log(), atol=1e-10)
    assert torch.allclose(ClassifyAs(LABELS).loss_of(logits, LogOdds()), (share / (1 - share)).log(), atol=1e-10)


def test_it_does_not_vanish_where_the_model_is_sure():
    logits = torch.nn.functional.one_hot(LABELS, 5).float() * 500
    assert not _slope(CrossEntropy(), logits, Misclassify).any()
    assert (_slope(LogOdds(), logits, Misclassify).norm(dim=1) > 1).all()


def test_a_sure_model_is_no_defence_where_the_direction_is_all_that_counts():
    """Logits that are far larger, as after distillation at temperature 100, save no row in float32."""
    case = testing.small_net()
    images, goal = case.images.float(), Misclassify(case.labels)
    net = case.module.float()
    linf, l1 = sp.Linf(0.1), sp.L1(8.0)
    for attack in (
        DDN(steps=40), JSMA(gamma=0.5), FGSM(linf), BIM(linf), PGD(linf), PGD(sp.L2(1.0)), MIFGSM(linf), NIFGSM(linf),
        APGD(linf, steps=20), L1APGD(l1, steps=20), MSD((linf, l1)), AutoAttack(linf, steps=10, n_queries=10),
    ):  # fmt: skip
        plain, sure = (
            testing.attack_laws.run(attack, Classifier(model), goal, images) for model in (net, lambda x: 1e4 * net(x))
        )
        assert plain.success.any(), attack.name
        assert sure.success.sum() >= plain.success.sum(), attack.name


def test_where_gradients_are_added_up_the_cross_entropy_is_climbed():
    """Of random answers, of copies of an image, and beside an alarm: there the sizes count too."""
    case = testing.small_net(4)
    assert LogOdds().in_sum() == CrossEntropy()
    assert PowerMargin().in_sum() == ScaledCrossEntropy()
    assert Margin().in_sum() == Margin()
    seen = []

    class Once(FGSM):
        def step(self, oracle, state, t):
            seen.append(oracle.gradient(oracle.region.x).value)
            return super().step(oracle, state, t)

    expected = Misclassify(case.labels).loss_of(case.module(case.images), ScaledCrossEntropy())
    noise = Defended(case.target, InputNoise(1e-9))
    for target, attack in (
        (noise.adaptive_view(draws=2), Once(sp.Linf(0.1))),
        (case.target, TransferAttack(Once(sp.Linf(0.1)), ScaleInvariance(1))),
    ):
        sp.run(attack, target, Misclassify(case.labels), case.images)
        assert torch.allclose(seen[-1], expected.detach(), atol=1e-6)
    sp.run(Once(sp.Linf(0.1)), case.target, Misclassify(case.labels), case.images)
    assert torch.allclose(seen[-1], Misclassify(case.labels).loss_of(case.module(case.images), PowerMargin()).detach())
    outputs, alarm = case.module(case.images).detach(), torch.full((4,), -1e9)
    goal = Misclassify(case.labels)
    assert torch.allclose(Undetected(goal)(DetectorOutputs(outputs, alarm)).loss, expected.detach())
    margin = Undetected(Misclassify(case.labels, Margin()))(DetectorOutputs(outputs, alarm)).loss
    assert torch.equal(margin, goal.margin(outputs))


def test_the_worst_example_is_the_one_of_the_highest_loss_of_the_goal_whatever_is_climbed():
    case = testing.small_net(6)
    goal = Misclassify(case.labels)
    for loss in (DLR(), CrossEntropy(), Margin()):
        asked = []

        def watched(x, asked=asked):
            asked.append(x.detach())
            return case.module(x)

        attack = APGD(sp.Linf(0.02), steps=8, loss=loss)
        outcome = sp.run(attack, Classifier(watched), goal, case.images, keep=sp.Keep.HIGHEST_LOSS)
        best = torch.stack([goal(case.module(x)).loss.detach() for x in asked[1:-1] if len(x) == 6]).amax(0)
        assert torch.allclose(goal(case.module(outcome.examples)).loss.detach(), best)
