"""A logit of -inf, of a class that a model never answers (ImageNet cut down to a subset), is an ordinary answer.

Every value is that of the same net without these classes.
"""

import pytest
import torch
from torch.nn import functional as F

import sparring as sp
from sparring import testing
from sparring.attacks.shared.soft_success import soft_success
from sparring.defenses.detection.magnet import jensen_shannon
from sparring.defenses.training import MART, TRADES, Distillation, Minibatch
from sparring.defenses.training.objective import cross_entropy
from sparring.goals import (
    DLR,
    CrossEntropy,
    Divergence,
    LogOdds,
    Margin,
    RivalDLR,
    RivalMargin,
    SmoothDLR,
    SmoothMargin,
    Verdict,
    least_likely,
)
from sparring.log_probabilities import kl_divergence, log_sum_exp, soft_cross_entropy
from sparring.tasks import Classification, Segmentation, Verification
from sparring.testing.cases import draw

ROWS = torch.arange(40)
OTHER = draw("others", (40, 10))
LOSSES = [Margin(), SmoothMargin(0.5), SmoothMargin(torch.full((40,), 0.3)), LogOdds(), CrossEntropy(), DLR(),
          SmoothDLR(1.0), RivalMargin(ROWS * 0), RivalDLR(ROWS * 0)]  # fmt: skip


def masked(logits, live):
    return logits.index_fill(1, torch.arange(live, logits.shape[1]), -torch.inf)


def slope(value, variable):
    return torch.autograd.grad(value.sum(), variable)[0]


@pytest.mark.parametrize("live", [2, 3, 4, 5, 9])
@pytest.mark.parametrize("scale", [1.0, 100.0])
@pytest.mark.parametrize("goal", [sp.Misclassify, sp.ClassifyAs])
def test_losses_are_those_without_the_class(goal, scale, live):
    whole = scale * draw("logits", (40, 10))
    ours, theirs = masked(whole, live).requires_grad_(), whole[:, :live].clone().requires_grad_()
    goal = goal(1 + ROWS % (live - 1))
    for loss in (*LOSSES, Divergence(masked(OTHER, live))):
        without = Divergence(OTHER[:, :live]) if isinstance(loss, Divergence) else loss
        one, other = goal.loss_of(ours, loss), goal.loss_of(theirs, without)
        assert torch.allclose(one, other, rtol=1e-9), loss
        gradient = slope(one, ours)
        assert torch.allclose(gradient[:, :live], slope(other, theirs), rtol=1e-9, atol=1e-12), loss
        assert not gradient[:, live:].any()
    assert torch.equal(goal.margin(ours), goal.margin(theirs))
    assert torch.equal(goal.terms(ours).margin, goal.terms(theirs).margin)


@pytest.mark.parametrize("live", [1, 2, 3, 9])
def test_a_class_that_is_never_answered_can_be_neither_left_nor_become(live):
    """Its label is wrong already, and as a target it is out of reach; nothing is NaN."""
    z = masked(draw("logits", (40, 10)), live).requires_grad_()
    never = torch.full((40,), 9)
    assert (sp.Misclassify(never).margin(z) == torch.inf).all()
    assert (sp.ClassifyAs(never).margin(z) == -torch.inf).all()
    for goal in (sp.Misclassify(never), sp.ClassifyAs(never)):
        assert torch.equal(goal.terms(z).margin, goal.margin(z))
        for loss in LOSSES:
            for value in (goal.loss_of(z, loss), loss.of(goal.terms(z))):
                assert not value.isnan().any(), loss
                assert slope(value, z).isfinite().all(), loss
        for loss in (LogOdds(), CrossEntropy()):
            verdict, gradient = goal.verdict_and_gradient(z, loss)
            assert gradient.isfinite().all()
            assert not verdict.loss.isnan().any()


def test_a_net_with_one_class_left_has_nothing_to_lose_and_no_nan():
    z, goal = masked(draw("logits", (40, 10)), 1).requires_grad_(), sp.Misclassify(ROWS * 0)
    verdict, gradient = goal.verdict_and_gradient(z)
    assert (verdict.margin < -1e30).all()
    assert gradient.isfinite().all()
    for loss in LOSSES:
        assert slope(goal.loss_of(z, loss), z).isfinite().all()


def test_rivals_are_classes_that_are_answered():
    z = masked(draw("logits", (40, 10)), 4)
    margins, places = sp.Misclassify(ROWS % 4).terms(z).nearest(9)
    assert margins.isfinite().all()
    assert (places < 4).all()
    best = z.scatter(1, (ROWS % 4)[:, None], -torch.inf).topk(3).indices
    assert torch.equal(places[:, :3], best)
    assert torch.equal(places[:, 3:], best[:, :1].expand(-1, 6))


def test_the_least_likely_class_is_one_that_is_answered():
    z = masked(draw("logits", (40, 10)), 4)
    assert torch.equal(least_likely(z), z[:, :4].argmin(1))


def test_sums_and_divergences_of_probabilities():
    one, other = draw("one", (40, 10)), OTHER
    for live in (1, 2, 9):
        p, q = masked(one, live).requires_grad_(), masked(other, live).requires_grad_()
        a, b = one[:, :live].clone().requires_grad_(), other[:, :live].clone().requires_grad_()
        expected = F.kl_div(b.log_softmax(1), a.log_softmax(1), reduction="none", log_target=True).sum(1)
        found = kl_divergence(p, q)
        assert torch.allclose(found, expected, atol=1e-12)
        for theirs, ours in ((a, p), (b, q)):
            ours_slope = torch.autograd.grad(found.sum(), ours, retain_graph=True)[0]
            theirs_slope = torch.autograd.grad(expected.sum(), theirs, retain_graph=True)[0]
            assert torch.allclose(ours_slope[:, :live], theirs_slope, atol=1e-12)
            assert not ours_slope[:, live:].any()
        assert torch.allclose(soft_cross_entropy(p, q.softmax(1)), F.cross_entropy(a, b.softmax(1), reduction="none"))
        middle = (a.softmax(1) + b.softmax(1)) / 2
        jsd = sum((0.5 * x.softmax(1) * (x.log_softmax(1) - middle.log())).sum(1) for x in (a, b))
        assert torch.allclose(jensen_shannon(p, q), jsd, atol=1e-12)
        assert slope(jensen_shannon(p, q), p).isfinite().all()
        assert slope(log_sum_exp(p - torch.inf, 1), p).isfinite().all()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_training_losses_are_those_without_the_class(smoothing):
    """Smoothed labels are spread over the classes that are answered."""
    one, labels = draw("one", (40, 10)), ROWS % 4
    batch = Minibatch(torch.zeros(40, 1, 1, 1, dtype=torch.float64), labels, ROWS)
    found, expected = [], []
    for cut, values in ((lambda z: masked(z, 4), found), (lambda z: z[:, :4], expected)):
        z, y = cut(one).clone().requires_grad_(), cut(OTHER)
        answers = {0.0: z, 1.0: y}

        def net(x, answers=answers):
            return answers[float(x.flatten()[0])]

        other = (batch.images + 1,)
        teacher = (cut(OTHER / 20).softmax(1),)
        for loss in (
            cross_entropy(z, labels, smoothing),
            TRADES(label_smoothing=smoothing).losses(net, batch, other),
            MART().losses(net, batch, other),
            Distillation(sp.Classifier(net), temperature=20).losses(net, batch, teacher),
        ):
            values.append((loss.detach(), torch.autograd.grad(loss.sum(), z, retain_graph=True)[0][:, :4]))
    for (ours, our_slope), (theirs, their_slope) in zip(found, expected, strict=True):
        assert torch.allclose(ours, theirs)
        assert torch.allclose(our_slope, their_slope, atol=1e-12)


def test_fused_answers_are_those_without_the_class():
    one, y = draw("one", (40, 10)), ROWS % 4
    for how in Classification.fusions:
        z = masked(one, 4).requires_grad_()
        fused = Classification().fuse([z, masked(OTHER, 4)], how)
        without = Classification().fuse([one[:, :4], OTHER[:, :4]], how)
        assert torch.equal(fused[:, :4].argmax(1), without.argmax(1))
        if how != "majority":
            assert torch.allclose(fused[:, :4], without)
            assert slope(sp.Misclassify(y).loss_of(fused), z).isfinite().all()


@pytest.mark.parametrize("fuse", ["logits", "probabilities"])
def test_an_ensemble_of_nets_with_unanswered_classes_is_attacked_like_one_without(fuse):
    case = testing.small_net(8)

    def ensemble(change):
        def made(x, turn=False):
            logits = case.module(x)
            return change(logits.flip(0) * 0 + 0.7 * logits if turn else logits)

        return sp.targets.Ensemble((sp.Classifier(made), sp.Classifier(lambda x: made(x, True))), fuse=fuse)

    cut, ours = ensemble(lambda z: z), ensemble(lambda z: torch.cat((z, z.new_full((len(z), 3), -torch.inf)), 1))
    found = [sp.run(sp.attacks.PGD(sp.Linf(0.05), steps=6), target, case.goal, case.images) for target in (cut, ours)]
    assert found[0].reasons == found[1].reasons
    assert torch.allclose(found[0].examples, found[1].examples)


def test_soft_success_passes_over_images_that_nothing_can_break():
    margin = torch.tensor([-1.0, -torch.inf, 2.0], dtype=torch.float64, requires_grad=True)
    found = soft_success(Verdict(margin, margin))
    assert torch.allclose(found, torch.tensor([-1 / 1.5, -torch.inf, 2 / 1.5], dtype=torch.float64).sigmoid())
    assert slope(found, margin).isfinite().all()


def test_what_counts_as_an_answer():
    z = torch.zeros(6, 3)
    z[0, 0], z[1, 1], z[2], z[3, 2] = -torch.inf, torch.nan, -torch.inf, torch.inf
    assert Classification().valid(z).tolist() == [True, False, False, False, True, True]
    pixels = torch.zeros(3, 3, 2, 2)
    pixels[0, 1], pixels[1, :, 1, 1], pixels[2, 0, 0, 0] = -torch.inf, -torch.inf, torch.nan
    assert Segmentation().valid(pixels).tolist() == [True, False, False]
    assert Verification().valid(z).tolist() == [False, False, False, False, True, True]
