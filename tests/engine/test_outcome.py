"""What an outcome says: answers that are none, gradients that are zero, rows that were wrong before, and distances."""

import math
from collections import Counter
from dataclasses import replace

import pytest
import torch

import sparring as sp
from sparring import testing
from sparring.access import Reason
from sparring.attacks import FGSM, PGD, DeepFool, Square
from sparring.engine import OutcomeCounts, remarks, typical_radii
from sparring.geometry import Linf

CASE = testing.small_net(8)
BRIGHT = torch.tensor([0, 3, 6])


def images():
    x = CASE.images.clone()
    x[:, 0, 0, 0] = 0.2
    x[BRIGHT, 0, 0, 0] = 0.9
    return x


def spoiled(value):
    """The net, whose answer is not a number where the first pixel is above one half."""

    def net(x):
        return torch.where((x[:, 0, 0, 0] > 0.5)[:, None], value, CASE.module(x))

    return net


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("attack", [PGD(sp.Linf(0.01)), Square(sp.Linf(0.01), n_queries=20), DeepFool()],
                         ids=lambda attack: attack.name)  # fmt: skip
def test_a_row_that_was_not_answered_is_neither_robust_nor_won(attack, value):
    x = images()
    goal = sp.Misclassify(CASE.module(x).argmax(1))
    outcome = sp.run(attack, sp.Classifier(spoiled(value)), goal, x)
    assert outcome.unanswered.nonzero().squeeze(1).tolist() == BRIGHT.tolist()
    assert not outcome.success[BRIGHT].any()
    others = outcome.success[~outcome.unanswered]
    assert outcome.robust_accuracy == pytest.approx(float((~others).sum()) / 8)
    assert outcome.attack_success_rate == pytest.approx(float(others.float().mean()))
    assert outcome.accuracy_at(math.inf) == pytest.approx(outcome.robust_accuracy)
    assert torch.equal(outcome.robust, ~outcome.success & ~outcome.unanswered)
    assert "the model answered NaN or infinity on 3 of 8 rows, which count as not robust" in str(outcome)
    assert outcome.notes[-len(outcome.remarks) :] == outcome.remarks


def test_a_net_that_answers_nothing_has_no_robust_accuracy():
    x = torch.cat((images()[1:2], images()[BRIGHT]))
    goal = sp.Misclassify(CASE.module(x).argmax(1))
    outcome = sp.run(FGSM(sp.Linf(1e-6)), sp.Classifier(spoiled(math.nan)), goal, x)
    assert outcome.robust_accuracy == 0.25


def test_a_net_driven_to_nan_is_not_robust():
    """Where the attack itself meets NaN: a pixel above one half is in reach of every image."""
    x = images()
    x[:, 0, 0, 0] = 0.45
    goal = sp.Misclassify(CASE.module(x).argmax(1))
    outcome = sp.run(Square(sp.Linf(0.1), n_queries=60), sp.Classifier(spoiled(math.nan)), goal, x)
    assert outcome.unanswered.any()
    assert not (outcome.unanswered & (outcome.success | outcome.robust)).any()


def test_an_infinite_logit_is_no_success():
    """The class of +inf leads, and a softmax of it is NaN: the deployed model gives no answer."""

    def net(x):
        logits = CASE.module(x)
        return logits.index_put(
            (torch.arange(len(x))[x[:, 0, 0, 0] > 0.5], torch.tensor(1)), torch.tensor(torch.inf).double()
        )

    x = images()
    x[:, 0, 0, 0] = 0.45
    goal = sp.Misclassify(CASE.module(x).argmax(1))
    outcome = sp.run(Square(sp.Linf(0.1), n_queries=60), sp.Classifier(net), goal, x)
    assert outcome.unanswered.any()
    assert CASE.module(outcome.examples[outcome.success]).isfinite().all()


def test_a_gradient_that_is_no_number_is_another_thing_than_an_answer_that_is_none():
    def net(x):
        x = x.clone()
        if x.requires_grad:
            x.register_hook(lambda grad: grad * torch.where(x[:, :1, :1, :1] > 0.5, torch.nan, 1.0))
        return CASE.module(x)

    x = images()
    goal = sp.Misclassify(CASE.module(x).argmax(1))
    outcome = sp.run(PGD(sp.Linf(1e-4), steps=3), sp.Classifier(net), goal, x)
    assert [reason is Reason.NON_FINITE_GRADIENT for reason in outcome.reasons] == [i in BRIGHT for i in range(8)]
    assert outcome.robust_accuracy == 1
    assert "a gradient was NaN or infinite on 3 of 8 rows" in str(outcome)


def test_a_zero_gradient_is_said_also_where_another_part_of_the_attack_won():
    def stairs(x):
        return CASE.module((x * 15).round() / 15)

    goal = sp.Misclassify(stairs(CASE.images).argmax(1))
    attack = sp.attacks.Cascade(PGD(Linf(0.2), steps=3), Square(Linf(0.2), n_queries=100))
    outcome = sp.run(attack, sp.Classifier(stairs), goal, CASE.images)
    assert outcome.success.any()
    assert outcome.zero_gradient.all()
    assert "every gradient was exactly zero on 8 of 8 rows" in str(outcome)
    assert not sp.run(PGD(Linf(0.2)), CASE.target, CASE.goal, CASE.images).zero_gradient.any()


def test_labels_that_do_not_fit_are_said():
    wrong = (CASE.labels + 1) % 4
    wrong[0] = CASE.labels[0]
    outcome = sp.run(PGD(Linf(0.01), steps=2), CASE.target, sp.Misclassify(wrong), CASE.images)
    assert "the model is wrong on 88% of the clean inputs: check labels, mean and std" in str(outcome)
    targets = sp.run(PGD(Linf(0.01), steps=2), CASE.target, sp.ClassifyAs(CASE.labels), CASE.images)
    assert "the goal is met on 100% of the clean inputs before the attack: check the targets" in str(targets)
    assert not remarks(OutcomeCounts(8, 0, Counter({Reason.ALREADY: 4})), misclassifies=True)


def test_without_a_radius_an_outcome_speaks_of_distances():
    outcome = sp.run(DeepFool(), CASE.target, CASE.goal, CASE.images)
    assert not outcome.has_radius
    assert "robust accuracy" not in str(outcome)
    assert "median distance" in str(outcome)
    for eps in typical_radii(outcome.distance.tolist()):
        share = float((outcome.distance > eps).double().mean())
        assert outcome.accuracy_at(eps) == pytest.approx(share)
        assert f"accuracy {share:.1%} at {eps:g}" in str(outcome)
    bounded = sp.run(DeepFool(ball=sp.L2(0.3)), CASE.target, CASE.goal, CASE.images)
    assert bounded.has_radius
    assert f"robust accuracy {float((outcome.distance > 0.3).double().mean()):.1%} of 8" in str(bounded)


def test_radii_lie_around_the_median_in_one_digit():
    assert typical_radii([0.9, 1.1, 1.3]) == [0.6, 1.0, 2.0]
    assert typical_radii([1.0, 2.0, 3.0], whole=True) == [1.0, 2.0, 4.0]
    assert typical_radii([1.0], whole=True) == [1.0, 2.0]
    assert typical_radii([0.0, math.inf]) == typical_radii([]) == []


def test_remarks_count_the_whole_run_and_not_its_batches():
    x = images()
    goal = sp.Misclassify(CASE.module(x).argmax(1))
    parts = [
        sp.run(PGD(sp.Linf(0.01)), sp.Classifier(spoiled(math.nan)), goal, x, engine=sp.Engine(size)) for size in (8, 3)
    ]
    assert parts[0].notes == parts[1].notes
    assert replace(parts[0], notes=()).remarks == parts[0].remarks
