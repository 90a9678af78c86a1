"""Losses as functions of terms: they are the field's on logits, they never go flat, and they serve every task."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sparring as sp
from sparring import testing
from sparring.attacks import ALMA, APGD, BIM, FMN, MIFGSM, MSD, NIFGSM, PGD, DAABlob, Rivals, Sweep
from sparring.goals import (
    DLR,
    CrossEntropy,
    LogOdds,
    Margin,
    PowerMargin,
    RandomDirection,
    RivalDLR,
    RivalMargin,
    ScaledCrossEntropy,
    SmoothDLR,
    SmoothMargin,
    Terms,
    mean_terms,
)
from sparring.random import Key
from sparring.testing.cases import draw

ROWS = torch.arange(60)
LOSSES = [Margin(), SmoothMargin(2.0), SmoothMargin(torch.full((60,), 0.3)), LogOdds(), CrossEntropy(), DLR(),
          PowerMargin(), ScaledCrossEntropy(), SmoothDLR(0.5),
          RivalMargin((ROWS + 1) % 4), RivalDLR((ROWS + 1) % 4)]  # fmt: skip


def by_hand(loss, z, y):
    """What the papers say of logits: the loss that leaves y."""
    own, rest = z.gather(1, y[:, None]).squeeze(1), z.scatter(1, y[:, None], -torch.inf)
    top = z.sort(dim=1, descending=True).values
    three, four = top[:, 0] - top[:, 2], top[:, 0] - (top[:, 2] + top[:, 3]) / 2
    temperature = getattr(loss, "temperature", 1.0)
    column = temperature[:, None] if isinstance(temperature, torch.Tensor) else temperature
    smooth = temperature * (rest / column).logsumexp(1) - own
    leads = rest - own[:, None]
    over = 2 * leads.amax(1).clamp_min(0)
    return {
        Margin: rest.amax(1) - own,
        SmoothMargin: smooth,
        LogOdds: rest.logsumexp(1) - own,
        CrossEntropy: F.cross_entropy(z, y, reduction="none"),
        PowerMargin: over - ((over[:, None] - leads) ** -4).sum(1) ** -0.25,
        ScaledCrossEntropy: F.cross_entropy(z / (0.2 * three)[:, None], y, reduction="none"),
        DLR: (rest.amax(1) - own) / three,
        SmoothDLR: smooth / three,
        RivalMargin: z.gather(1, ((ROWS + 1) % 4)[:, None]).squeeze(1) - own,
        RivalDLR: (z.gather(1, ((ROWS + 1) % 4)[:, None]).squeeze(1) - own) / four,
    }[type(loss)]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("scale", [1.0, 8.0, 100.0])
def test_losses_of_terms_are_the_fields_losses_of_logits(loss, scale):
    z, y = scale * draw("logits", (60, 10)), ROWS % 4
    leave, become = sp.Misclassify(y), sp.ClassifyAs(y)
    expected = by_hand(loss, z, y)
    assert torch.allclose(loss.of(leave.terms(z)), expected, rtol=1e-9, atol=1e-9)
    assert torch.allclose(leave.loss_of(z, loss), loss.of(leave.terms(z)), rtol=1e-9, atol=1e-9)
    assert torch.allclose(become.loss_of(z, loss), loss.of(become.terms(z)), rtol=1e-9, atol=1e-9)
    if not isinstance(loss, DLR | SmoothDLR | RivalMargin | ScaledCrossEntropy | PowerMargin):
        assert torch.allclose(loss.of(become.terms(z)), -expected, rtol=1e-9, atol=1e-9)


def test_the_smooth_margin_of_a_target_is_the_norm_of_what_it_lacks():
    z, y = draw("logits", (60, 10)), ROWS % 10
    lacks = (z - z.gather(1, y[:, None])).scatter(1, y[:, None], -torch.inf)
    short = lacks.amax(1) > 0
    loss = sp.ClassifyAs(y).loss_of(z)
    assert torch.allclose(loss[short], -lacks.clamp_min(0).norm(p=4, dim=1)[short], rtol=1e-9)
    assert (loss[~short] > 0).all()


def test_the_dlr_of_a_target_is_that_of_eq_7():
    z, y = draw("logits", (60, 10)), ROWS % 10
    top = z.sort(dim=1, descending=True).values
    own, rest = z.gather(1, y[:, None]).squeeze(1), z.scatter(1, y[:, None], -torch.inf).amax(1)
    expected = (own - rest) / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2)
    assert torch.allclose(sp.ClassifyAs(y).loss_of(z, DLR()), expected, rtol=1e-9)


@pytest.mark.parametrize("goal", [sp.Misclassify, sp.ClassifyAs])
@pytest.mark.parametrize("loss", [CrossEntropy(), LogOdds(), PowerMargin()], ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_closed_forms_are_what_autograd_finds(goal, loss, dtype):
    z, y = (4 * draw("logits", (60, 10))).to(dtype).requires_grad_(), ROWS % 10
    goal = goal(y, loss)
    (expected,) = torch.autograd.grad(loss.of(goal.terms(z)).sum(), z)
    verdict, gradient = goal.verdict_and_gradient(z)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    assert torch.allclose(gradient, expected, atol=tolerance)
    assert torch.allclose(verdict.loss, goal.loss_of(z), atol=tolerance)
    assert torch.equal(verdict.margin, goal.margin(z))
    assert torch.equal(goal.loss_and_gradient(z)[1], gradient)


def test_a_class_masked_with_minus_infinity_is_an_ordinary_class():
    """As where the logits of an ImageNet net are cut down to a subset."""
    z = draw("logits", (60, 10))
    masked, cut = z.index_fill(1, torch.arange(6, 10), -torch.inf).requires_grad_(), z[:, :6].clone().requires_grad_()
    for goal in (sp.Misclassify(ROWS % 4), sp.ClassifyAs(ROWS % 4)):
        for loss in LOSSES:
            ours, expected = goal.loss_of(masked, loss), goal.loss_of(cut, loss)
            assert torch.allclose(ours, expected, rtol=1e-9), loss
            slopes = [torch.autograd.grad(value.sum(), z)[0] for value, z in ((ours, masked), (expected, cut))]
            assert torch.allclose(slopes[0][:, :6], slopes[1], atol=1e-9), loss
            assert not slopes[0][:, 6:].any()


@pytest.mark.parametrize("loss", [DLR(), SmoothDLR(0.5), RivalDLR(ROWS * 0)], ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("classes", [3, 4, 5, 10])
def test_dlr_is_flat_at_no_rank(loss, classes):
    z = draw("logits", (60, classes)).requires_grad_()
    order = z.detach().argsort(dim=1, descending=True)
    for rank in range(1, classes):
        if isinstance(loss, RivalDLR):
            goal, climbed = sp.Misclassify(order[:, 0]), RivalDLR(order[:, rank])
        else:
            goal, climbed = sp.ClassifyAs(order[:, rank]), loss
        (slope,) = torch.autograd.grad(goal.loss_of(z, climbed).sum(), z)
        assert (slope.abs().amax(1) > 1e-3).all(), rank


def ranked(classes):
    """A net without favourite classes, images, and its classes on each, the likeliest first."""
    layers = nn.Conv2d(3, 6, 3, stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(54, 24), nn.Tanh(), nn.Linear(24, classes)
    net = testing.cases.filled(nn.Sequential(*layers).double(), "ranked").eval().requires_grad_(False)
    net[0].bias.sub_(0.5 * net[0].weight.sum((1, 2, 3)))
    net[5].bias.zero_()
    images = 0.5 + 0.15 * draw("images", (12, 3, 8, 8)).clamp(-2.5, 2.5)
    return sp.Classifier(net), images, net(images).argsort(1, descending=True)


@pytest.mark.parametrize(("classes", "eps"), [(3, 0.3), (4, 0.3), (10, 0.25)])
def test_apgd_wins_by_dlr_what_it_wins_by_other_losses_at_every_rank(classes, eps):
    target, images, order = ranked(classes)
    fell = 0
    for rank in range(1, classes):
        goal = sp.ClassifyAs(order[:, rank])
        won = [
            int(sp.run(APGD(sp.Linf(eps), steps=25, loss=loss), target, goal, images).success.sum())
            for loss in (DLR(), Margin(), CrossEntropy())
        ]
        assert won[0] >= 0.95 * max(won), rank
        fell += won[0]
    assert fell >= 12 * min(classes - 1, 5)  # the eps is one at which there is something to win


def iterated(ball):
    """Every attack that takes many steps up a loss within the ball."""
    steps = {"steps": 40}
    return {
        "BIM": BIM(ball, **steps),
        "PGD": PGD(ball, **steps),
        "MI-FGSM": MIFGSM(ball, **steps),
        "NI-FGSM": NIFGSM(ball, **steps),
        "APGD": APGD(ball, **steps),
        "APGD by DLR": APGD(ball, loss=DLR(), **steps),
        "APGD-T": Rivals(APGD(ball, loss=None, **steps)),
        "MSD": MSD((ball, sp.L2(ball.eps)), **steps),
        "Sweep": Sweep(ball, blocks=1),
        "DAA": DAABlob(ball, **steps),
    }


@pytest.mark.parametrize("confidence", [1e-3, 8.0, 1e4])
@pytest.mark.parametrize(("classes", "eps"), [(3, 0.4), (10, 0.45)])
def test_every_iterated_attack_wins_at_every_rank_what_the_best_one_wins(classes, eps, confidence):
    """Untargeted, and with the second to the last class as the target; in float32, sure or not."""
    target, images, order = ranked(classes)

    def net(x):
        return (confidence * target.model(x.double())).float()

    goals = [sp.Misclassify(order[:, 0]), *(sp.ClassifyAs(order[:, rank]) for rank in range(1, classes))]
    won = {
        name: [int(sp.run(attack, sp.Classifier(net), goal, images.float()).success.sum()) for goal in goals]
        for name, attack in iterated(sp.Linf(eps)).items()
    }
    best = [max(each) for each in zip(*won.values(), strict=True)]
    assert sum(best) >= 12 * min(classes, 8)  # the eps is one at which there is something to win
    for name, found in won.items():
        assert sum(found) >= 0.95 * sum(best), (name, found, best)


@pytest.mark.parametrize("loss", [PowerMargin(), ScaledCrossEntropy(), DLR()],
                         ids=lambda loss: type(loss).__name__)  # fmt: skip
@pytest.mark.parametrize("goal", [sp.Misclassify, sp.ClassifyAs])
def test_the_scale_of_the_logits_does_not_turn_a_gradient(goal, loss):
    z = draw("logits", (60, 10))
    y, slopes = z.topk(2, dim=1).indices[:, int(goal is sp.ClassifyAs)], []
    for scale in (1e-5, 1.0, 1e5):
        logits = (scale * z).requires_grad_()
        slope = torch.autograd.grad(goal(y).loss_of(logits, loss).sum(), logits)[0]
        slopes.append(F.normalize(slope, dim=1))
    assert torch.allclose(slopes[0], slopes[1], atol=1e-5)
    assert torch.allclose(slopes[2], slopes[1], atol=1e-5)


@pytest.mark.parametrize("live", [2, 3, 4, 5])
@pytest.mark.parametrize("goal", [sp.Misclassify, sp.ClassifyAs])
def test_classes_masked_with_a_large_negative_number_are_absent(goal, live):
    """-1e4 in every logit that is not used, or added to it, is what -inf is."""
    z, goal = 5 * draw("logits", (60, 10)), goal(ROWS % live)
    unused = torch.arange(live, 10)
    absent = z.index_fill(1, unused, -torch.inf)
    for masked in (z.index_fill(1, unused, -1e4), z.index_add(1, unused, torch.full((60, len(unused)), -1e4).double())):
        for loss in (PowerMargin(), ScaledCrossEntropy(), DLR(), SmoothDLR(0.1)):
            assert torch.allclose(goal.loss_of(masked, loss), goal.loss_of(absent, loss)), loss
    saturated = 1e3 * z  # of a net that is sure of itself no class is masked
    assert torch.allclose(goal.loss_of(saturated, DLR()), goal.loss_of(z, DLR()))


def test_alma_finds_the_boundary_between_classes_beside_masked_ones():
    target, images, order = ranked(10)

    def masked(x):
        return target.model(x).scatter(1, order[:, 2:], -1e4)

    goal = sp.Misclassify(order[:, 0])
    found, best = (
        sp.run(attack, sp.Classifier(masked), goal, images) for attack in (ALMA(steps=60), FMN(sp.L2(), steps=60))
    )
    assert found.success.all()
    assert found.distance.median() < 1.1 * best.distance.median()


def test_terms_of_which_all_are_needed_have_one_way_to_win():
    terms = Terms(torch.tensor([[1.0, -2.0, torch.inf], [3.0, 2.0, 1.0]]), every=True)
    assert terms.margin.tolist() == [-2.0, 1.0]
    margins, places = terms.nearest(5)
    assert (margins.tolist(), places.tolist()) == ([[-2.0], [1.0]], [[0], [0]])
    assert RivalMargin(torch.tensor([2, 2])).of(terms).tolist() == [-2.0, 1.0]


def test_over_several_answers_terms_are_averaged():
    some = [Terms(torch.tensor([[1.0, -torch.inf]]), count=1), Terms(torch.tensor([[3.0, -torch.inf]]), count=1)]
    assert mean_terms(some).nearest(9)[0].tolist() == [[2.0]]


def test_a_random_direction_is_keyed_row_by_row_and_serves_terms_too():
    z, y, key = draw("logits", (60, 10)), ROWS % 10, Key(ROWS, 3)
    loss = RandomDirection(key, 1)
    weights = 2 * key.uniform("direction", (10,), 1, torch.float64) - 1
    assert torch.equal(sp.Misclassify(y).loss_of(z, loss), (z * weights).sum(1))
    part = ROWS[[5, 2]]
    taken = sp.rows.take(sp.Misclassify(y, loss), part).loss_of(z[part])
    assert torch.equal(taken, sp.Misclassify(y).loss_of(z, loss)[part])
    terms = Terms(z.index_fill(1, torch.tensor([4]), -torch.inf))
    assert torch.allclose(loss.of(terms), (z * weights).sum(1) - z[:, 4] * weights[:, 4])


def box_iou(some, others):
    """(N, M) by pixels of a fine grid, in no hurry."""
    at = (torch.arange(800) + 0.5).double() / 100 - 0.0
    inside = [
        ((at > b[1]) & (at < b[3]))[:, None] & ((at > b[0]) & (at < b[2]))[None] for b in torch.cat((some, others))
    ]
    first, second = inside[: len(some)], inside[len(some) :]
    return torch.tensor([[float((a & b).sum() / (a | b).sum()) for b in second] for a in first])


@pytest.mark.parametrize(
    "make",
    [testing.verifier, testing.impersonation, testing.detector, testing.segmenter],
    ids=lambda make: make.__name__,
)
@pytest.mark.parametrize("loss", [Margin(), LogOdds(), CrossEntropy(), DLR(), SmoothMargin(0.1)],
                         ids=lambda loss: type(loss).__name__)  # fmt: skip
def test_goals_of_other_tasks_obey_the_laws_of_goals(make, loss):
    case = make(12)
    goal = replace(case.goal, loss=loss)
    outputs = sp.rows.detach(case.module(case.images.flip(0)))
    if make is testing.detector:
        overlap = [box_iou(one, truth[None])[:, 0] for one, truth in zip(outputs.boxes, goal.boxes, strict=True)]
        near = torch.stack(overlap) >= goal.iou
        won = ~(near & (outputs.logits > 0).any(2)).any(1)
        assert 0 < won.sum() < 12
    elif make is testing.segmenter:
        won = (outputs.argmax(1) != goal.labels).flatten(1).double().mean(1) >= goal.share
    elif make is testing.impersonation:
        cosines = [F.cosine_similarity(outputs, goal.gallery[:, i]) for i in range(3)]
        won = torch.stack(cosines).amax(0) > goal.threshold
    else:
        won = F.cosine_similarity(outputs, goal.template) < goal.threshold
    testing.check_goal(goal, outputs, won)
