"""The log-odds: the cross-entropy's direction, also where that has none left."""

import torch

from sparring import testing
from sparring.attacks import DDN, JSMA
from sparring.goals import ClassifyAs, CrossEntropy, LogOdds, Misclassify
from sparring.targets import Classifier

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


def test_a_sure_model_is_no_defence_against_ddn_and_jsma():
    """Logits a hundred times as large, as after distillation at temperature 100, change no result in float32."""
    case = testing.small_net()
    images, goal = case.images.float(), Misclassify(case.labels)
    net = case.module.float()
    for attack in (DDN(steps=40), JSMA(gamma=0.5)):
        plain, sure = (
            testing.attack_laws.run(attack, Classifier(model), goal, images)
            for model in (net, lambda x: 1e4 * net(x))
        )
        assert plain.success.all(), attack.name
        assert sure.success.all(), attack.name
