"""Who has won, what is climbed, and which labels are refused."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

import sparring as sp
from sparring import testing
from sparring.errors import GoalError, InputError, TargetError
from sparring.goals import DLR, CrossEntropy, Divergence, LogOdds, Margin, RivalDLR, RivalMargin, Terms
from sparring.random import Key
from sparring.rows import take


def logits(rows, classes, shift=0.0, seed=0):
    return Key(torch.arange(rows), seed).normal("z", (classes,), dtype=torch.float64) * 3 + shift


LOSSES = [(loss, classes) for loss in (CrossEntropy(), LogOdds(), Margin(), DLR()) for classes in (2, 3, 10)]


@pytest.mark.parametrize(("loss", "classes"), LOSSES, ids=lambda value: getattr(type(value), "__name__", value))
@pytest.mark.parametrize("shift", [0.0, -100.0, 1e4])
def test_goals_agree_with_an_argmax_of_numpy(classes, shift, loss):
    z = logits(40, classes, shift)
    chosen = torch.arange(40) % classes
    winner = np.argmax(z.numpy(), axis=1)
    testing.check_goal(sp.Misclassify(chosen, loss), z, torch.tensor(winner != chosen.numpy()))
    testing.check_goal(sp.ClassifyAs(chosen, loss), z, torch.tensor(winner == chosen.numpy()))


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
        assert float(sp.Misclassify(label).loss_of(z, loss)) == pytest.approx(value)
        if loss != DLR():
            assert float(sp.ClassifyAs(label).loss_of(z, loss)) == pytest.approx(-value)
    assert float(sp.ClassifyAs(label).loss_of(z, DLR())) == pytest.approx(1 / (2 - (-1 - 4) / 2))  # eq. 7


def test_dlr_is_blind_to_the_scale_of_the_logits():
    z, label = logits(6, 5), torch.zeros(6, dtype=torch.long)
    for goal in (sp.Misclassify(label), sp.ClassifyAs(label)):
        assert torch.allclose(goal.loss_of(z, DLR()), goal.loss_of(100 * z, DLR()))


@pytest.mark.parametrize("goal", [sp.Misclassify, sp.ClassifyAs])
def test_dlr_of_two_classes_is_the_margin(goal):
    z, label = logits(6, 2), torch.zeros(6, dtype=torch.long)
    assert torch.allclose(goal(label, DLR())(z).loss, goal(label, Margin())(z).loss, rtol=1e-11)


def test_losses_of_a_rival_by_hand():
    z = torch.tensor([[2.0, 1.0, -1.0, -4.0]], dtype=torch.float64)
    goal, rival = sp.Misclassify(torch.tensor([0])), torch.tensor([2])
    for count, spread in ((4, 2.0 + 2.5), (3, 2.0 - 2.0 / 3)):
        assert float(goal.loss_of(z[:, :count], RivalMargin(rival))) == -3.0
        assert float(goal.loss_of(z[:, :count], RivalDLR(rival))) == pytest.approx(-3.0 / spread)
    assert float(goal.loss_of(z[:, :2], RivalDLR(torch.tensor([1])))) == pytest.approx(-1.0)
    assert take(RivalMargin(torch.arange(4)), torch.tensor([2, 0])).place.tolist() == [2, 0]


def test_the_nearest_ways_to_win_are_in_order_and_skip_the_label():
    z = torch.tensor([[0.0, 5.0, 3.0, 4.0]])
    terms = sp.Misclassify(torch.tensor([1])).terms(z)
    assert terms.nearest(2)[0].tolist() == [[-1.0, -2.0]]
    assert terms.nearest(99)[0].tolist() == [[-1.0, -2.0, -5.0]]
    assert terms.nearest(99)[1].tolist() == [[3, 2, 0]]
    margins, places = sp.ClassifyAs(torch.tensor([3])).terms(z).nearest(2)
    assert (margins.tolist(), places.tolist()) == ([[-1.0]], [[0]])


def test_another_loss_changes_the_climb_and_not_the_judge():
    z, labels = logits(8, 4), torch.arange(8) % 4
    plain, other = sp.Misclassify(labels)(z), sp.Misclassify(labels)(z, Margin())
    assert torch.equal(plain.margin, other.margin)
    assert torch.equal(other.loss, plain.margin)
    assert not torch.equal(other.loss, plain.loss)


@pytest.mark.wrong_types
def test_a_loss_that_is_none_is_refused():
    with pytest.raises(
        GoalError, match=r"Misclassify climbs a loss of sparring\.goals, not 'dlr'; pass PowerMargin\(\)"
    ):
        sp.Misclassify(torch.arange(4), "dlr")


def test_a_loss_on_logits_is_refused_by_a_goal_without_logits():
    @dataclass(frozen=True)
    class First(sp.goals.Goal):
        rows: torch.Tensor

        def terms(self, outputs):
            return Terms(outputs[:, :1])

        def __len__(self):
            return len(self.rows)

    goal = First(torch.zeros(3))
    assert torch.equal(goal(logits(3, 2)).margin, logits(3, 2)[:, 0])
    with pytest.raises(GoalError, match="Divergence is a loss on logits, and this goal is none of a classifier"):
        goal(logits(3, 2), Divergence(logits(3, 2)))


@pytest.mark.parametrize("labels", [
    torch.zeros(4), torch.zeros(4, dtype=torch.bool), torch.zeros(2, 2, dtype=torch.long), torch.tensor(1),
    torch.zeros(4, dtype=torch.complex64), [0, 1.5], ['cat'],
])  # fmt: skip
@pytest.mark.wrong_types
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
    with pytest.raises(TargetError, match="for a single-logit model pass binary=True"):
        sp.run(sp.attacks.FGSM(sp.Linf(0.1)), target, sp.Misclassify(torch.zeros(3, dtype=torch.long)), case.images)
