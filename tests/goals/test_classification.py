"""Who has won, what is climbed, and which labels are refused."""

import numpy as np
import pytest
import torch

import sparring as sp
from sparring import testing
from sparring.errors import GoalError, InputError
from sparring.goals import DLR, CrossEntropy, Lead, Margin, RivalDLR
from sparring.random import Key


def logits(rows, classes, shift=0.0, seed=0):
    return Key(torch.arange(rows), seed).normal("z", (classes,), dtype=torch.float64) * 3 + shift


LOSSES = [(loss, classes) for loss in (CrossEntropy(), Margin(), DLR()) for classes in (2, 3, 10)]


@pytest.mark.parametrize(("loss", "classes"), LOSSES, ids=lambda value: getattr(type(value), "__name__", value))
@pytest.mark.parametrize("shift", [0.0, -100.0, 1e4])
def test_goals_agree_with_an_argmax_of_numpy(classes, shift, loss):
    z = logits(40, classes, shift)
    chosen = torch.arange(40) % classes
    winner = np.argmax(z.numpy(), axis=1)
    testing.check_goal(sp.Misclassify(chosen).steered_by(loss), z, torch.tensor(winner != chosen.numpy()))
    testing.check_goal(sp.ClassifyAs(chosen).steered_by(loss), z, torch.tensor(winner == chosen.numpy()))


@pytest.mark.parametrize("goal", [sp.Misclassify, sp.ClassifyAs])
def test_a_tie_is_not_a_win(goal):
    tied = torch.tensor([[1.0, 1.0, 0.0]])
    for label in (0, 1):
        assert float(goal(torch.tensor([label]))(tied).margin) == 0


def test_margins_by_hand():
    z = torch.tensor([[-5.0, -2.0, -9.0], [-5.0, -2.0, -9.0]])
    assert sp.Misclassify(torch.tensor([1, 0]))(z).margin.tolist() == [-3.0, 3.0]
    assert sp.ClassifyAs(torch.tensor([1, 0]))(z).margin.tolist() == [3.0, -3.0]


def test_losses_by_hand():
    z = torch.tensor([[2.0, 1.0, -1.0, -4.0]], dtype=torch.float64)
    label = torch.tensor([0])
    cross = float(torch.log(torch.exp(z).sum()) - 2.0)
    expected = {CrossEntropy(): cross, Margin(): -1.0, DLR(): -1.0 / 3.0}
    for loss, value in expected.items():
        assert float(loss.away(z, label)) == pytest.approx(value)
        assert float(loss.toward(z, label)) == pytest.approx(-value)


def test_dlr_is_blind_to_the_scale_of_the_logits():
    z, label = logits(6, 5), torch.zeros(6, dtype=torch.long)
    assert torch.allclose(DLR().away(z, label), DLR().away(100 * z, label))


@pytest.mark.parametrize("goal", [sp.Misclassify, sp.ClassifyAs])
def test_dlr_falls_back_where_classes_are_few_and_the_outcome_says_so(goal):
    z, label = logits(6, 2), torch.zeros(6, dtype=torch.long)
    assert torch.equal(goal(label, DLR())(z).loss, goal(label, Margin())(z).loss)
    case = testing.linear(2)
    chosen = case.labels if goal is sp.Misclassify else 1 - case.labels
    outcome = sp.run(sp.attacks.PGD(sp.Linf(0.1)), case.target, goal(chosen).steered_by(DLR()), case.images)
    assert outcome.notes == ("DLR needs 3 classes and the model has 2: the margin was climbed",)
    assert outcome.notes[0] in str(outcome)
    assert not sp.run(sp.attacks.PGD(sp.Linf(0.1)), case.target, goal(chosen), case.images).notes


def test_losses_of_a_rival_by_hand():
    z = torch.tensor([[2.0, 1.0, -1.0, -4.0]], dtype=torch.float64)
    label, rival = torch.tensor([0]), torch.tensor([2])
    for count, spread in ((4, 2.0 + 2.5), (3, 3.0)):
        assert float(Lead(rival).away(z[:, :count], label)) == -3.0
        assert float(RivalDLR(rival).away(z[:, :count], label)) == pytest.approx(-3.0 / spread)
    assert float(RivalDLR(torch.tensor([1])).away(z[:, :2], label)) == -1.0
    assert Lead(torch.arange(4)).take(torch.tensor([2, 0])).rivals.tolist() == [2, 0]


def test_rivals_are_the_nearest_leads_in_order_and_skip_the_label():
    z = torch.tensor([[0.0, 5.0, 3.0, 4.0]])
    goal = sp.Misclassify(torch.tensor([1]))
    assert goal.rivals(z, 2).tolist() == [[-1.0, -2.0]]
    assert goal.rivals(z, 99).tolist() == [[-1.0, -2.0, -5.0]]
    assert goal.ways(z, 99).tolist() == [[3, 2, 0]]
    assert sp.ClassifyAs(torch.tensor([3])).ways(z, 2).tolist() == [[3]]
    assert sp.ClassifyAs(torch.tensor([3])).rivals(z, 2).tolist() == [[-1.0]]


def test_steering_changes_the_climb_and_not_the_judge():
    z, labels = logits(8, 4), torch.arange(8) % 4
    plain, steered = sp.Misclassify(labels)(z), sp.Misclassify(labels).steered_by(Margin())(z)
    assert torch.equal(plain.margin, steered.margin)
    assert torch.equal(steered.loss, plain.margin)
    assert not torch.equal(steered.loss, plain.loss)
    with pytest.raises(GoalError, match=r"Misclassify is steered by a Loss of sparring\.goals, not by 'dlr'"):
        sp.Misclassify(labels).steered_by("dlr")


def test_a_goal_without_losses_says_so():
    class Always(sp.goals.Goal):
        def margin(self, outputs):
            return outputs[:, 0]

        def __len__(self):
            return 1

        def take(self, rows):
            return self

    with pytest.raises(GoalError, match=r"Always cannot be steered by .*; use the goal's own loss"):
        Always().steered_by(Margin())


@pytest.mark.parametrize("labels", [
    torch.zeros(4), torch.zeros(4, dtype=torch.bool), torch.zeros(2, 2, dtype=torch.long), torch.tensor(1),
    torch.zeros(4, dtype=torch.complex64), [0, 1, 2, 3],
])  # fmt: skip
def test_labels_of_another_kind(labels):
    with pytest.raises(InputError, match="labels must be a 1-D integer tensor, one class per image; got "):
        sp.Misclassify(labels)
    with pytest.raises(InputError, match="targets must be"):
        sp.ClassifyAs(labels)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_every_integer_type_serves(dtype):
    z, labels = logits(3, 4), torch.tensor([0, 1, 2])
    assert torch.equal(sp.Misclassify(labels.to(dtype))(z).margin, sp.Misclassify(labels)(z).margin)


@pytest.mark.parametrize(("goal", "word"), [(sp.Misclassify, "labels"), (sp.ClassifyAs, "targets")])
@pytest.mark.parametrize("bad", [4, -1])
def test_labels_out_of_range_are_named_with_their_row(goal, word, bad):
    case = testing.small_net(5)
    labels = case.labels.clone()
    labels[3] = bad
    with pytest.raises(InputError, match=rf"{word}\[3\] is {bad}, and the model has 4 classes \(0 to 3\)"):
        sp.run(sp.attacks.FGSM(sp.Linf(0.1)), case.target, goal(labels), case.images, engine=sp.Engine(batch_size=2))


def test_labels_of_the_wrong_length():
    case = testing.small_net(5)
    with pytest.raises(InputError, match="the goal speaks of 4 images and there are 5; one label per image"):
        sp.run(sp.attacks.FGSM(sp.Linf(0.1)), case.target, sp.Misclassify(case.labels[:4]), case.images)


def test_a_model_of_one_logit_is_told_of_binary():
    case = testing.small_net(3)
    target = sp.Classifier(lambda x: case.module(x)[:, :1])
    with pytest.raises(GoalError, match=r"gives 1 logit per image.*Classifier\(\.\.\., binary=True\)"):
        sp.run(sp.attacks.FGSM(sp.Linf(0.1)), target, sp.Misclassify(torch.zeros(3, dtype=torch.long)), case.images)
