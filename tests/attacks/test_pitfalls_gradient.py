"""Pitfalls of gradient attacks and their evaluation that other libraries fell into (numbers as in test_pitfalls)."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

import sparring as sp
from sparring import testing
from sparring.access import Keep
from sparring.attacks import APGD, MIFGSM, NIFGSM, PGD, RFGSM, Cascade, FastFGSM, Rivals, Square
from sparring.attacks.gradient.checkpoints import checkpoints
from sparring.geometry.region import Region
from sparring.goals import DLR, Margin, RivalMargin
from sparring.random import Key


def asked_of(attack, case, **options):
    """Every batch of images that the model was given, without the engine's looks before and after."""
    asked = []

    def watching(x):
        asked.append(x.detach().clone())
        return case.module(x)

    outcome = sp.run(attack, sp.Classifier(watching), case.goal, case.images, keep=Keep.HIGHEST_LOSS, **options)
    confirmed = bool(outcome.success.any())
    return asked[1 : -1 if confirmed else None], outcome


def test_pitfall_08_three_starts_of_fgsm_are_three_attacks():
    case, eps = testing.small_net(4), 0.1
    tramer = asked_of(RFGSM(sp.Linf(eps)), case)[0][0] - case.images
    assert torch.allclose(tramer.abs(), torch.full_like(tramer, eps / 2))  # sign of Gaussian noise
    wong = asked_of(FastFGSM(sp.Linf(eps)), case)[0][0] - case.images
    assert wong.abs().max() <= eps
    assert wong.abs().std() > eps / 5  # uniform
    region = Region.around(case.images, sp.Linf(eps))
    assert FastFGSM(region.ball).step_size_at(0, region) == pytest.approx(1.25 * eps)
    plain = asked_of(sp.attacks.FGSM(sp.Linf(eps)), case)[0][0]
    assert torch.equal(plain, case.images)


class Blind(nn.Module):
    """Flat where the first pixel is below 0.5, and nonzero_gradient beyond."""

    def forward(self, x):
        lit = (x[:, 0, 0, 0] - 0.5).clamp_min(0)[:, None]
        return torch.cat((torch.full_like(lit, 0.1), 4 * lit * x.flatten(1).mean(1, keepdim=True)), 1)


@pytest.mark.parametrize("attack", [MIFGSM, NIFGSM])
def test_pitfall_13_momentum_survives_a_gradient_of_zero(attack):
    """|g|_1 = 0 must neither give NaN nor wipe out the memory, and a neighbour must not notice."""
    images = torch.full((2, 1, 4, 4), 0.3, dtype=torch.float64)
    images[1] = 0.51
    outcome = sp.run(
        attack(sp.Linf(0.2)),
        sp.Classifier(Blind()),
        sp.Misclassify(torch.tensor([0, 0])),
        images,
        keep=Keep.HIGHEST_LOSS,
    )
    assert outcome.examples.isfinite().all()
    assert outcome.success.tolist() == [False, True]
    assert outcome.reasons[0] is sp.access.Reason.NO_GRADIENT


def test_pitfall_13_the_memory_is_a_sum_of_gradients_of_l1_norm_one():
    case = testing.small_net(2)
    images, _ = asked_of(MIFGSM(sp.Linf(0.05), steps=3, decay=0.5), case)
    memory = torch.zeros_like(case.images)
    for now, then in pairwise(images):
        leaf = now.clone().requires_grad_()
        (grad,) = torch.autograd.grad(case.goal(case.module(leaf)).loss.sum(), leaf)
        memory = 0.5 * memory + grad / grad.abs().sum((1, 2, 3), keepdim=True)
        assert torch.allclose(then - now, 0.05 / 3 * memory.sign(), atol=1e-12)


def test_pitfall_15_nesterov_looks_ahead_along_the_memory():
    case = testing.small_net(2)
    images, _ = asked_of(NIFGSM(sp.Linf(0.06), steps=2), case)
    leaf = case.images.clone().requires_grad_()
    (grad,) = torch.autograd.grad(case.goal(case.module(leaf)).loss.sum(), leaf)
    memory = grad / grad.abs().sum((1, 2, 3), keepdim=True)
    ahead = case.images + 0.03 * memory.sign() + 0.03 * memory
    assert torch.allclose(images[1], ahead, atol=1e-9)


def test_pitfall_20_checkpoints_and_first_step_are_the_papers():
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    case = testing.small_net(3)
    attack = APGD(sp.Linf(0.01), steps=3)
    images, _ = asked_of(attack, case)
    # a first step of 2 eps from anywhere in the ball ends at a corner of it
    moved = (images[1] - case.images)[..., :7, :7]  # the net does not see the last row and column
    assert torch.allclose(moved.abs(), torch.full_like(moved, 0.01))


def test_pitfall_20_the_first_example_and_the_best_loss_are_two_results():
    case = testing.small_net(12)
    attack = APGD(sp.Linf(0.08), steps=30)
    first, worst = (
        sp.run(attack, case.target, case.goal, case.images, keep=keep) for keep in (Keep.FIRST, Keep.HIGHEST_LOSS)
    )
    both = first.success & ~first.already
    assert both.sum() >= 3
    loss = [case.goal(case.module(o.examples)).loss.detach()[both] for o in (first, worst)]
    assert (loss[1] >= loss[0] - 1e-12).all()
    assert (loss[1] > loss[0] + 1e-6).any()


@pytest.mark.parametrize("classes", [2, 3, 4, 5])
def test_pitfall_21_targeted_dlr_works_with_few_classes(classes):
    case = testing.linear(classes)
    attack = Rivals(APGD(sp.Linf(0.2), steps=20, loss=None))
    outcome = sp.run(attack, case.target, case.goal, case.images)
    assert outcome.success.all()
    dlr = sp.run(APGD(sp.Linf(0.2), steps=20, loss=DLR()), case.target, case.goal, case.images)
    assert dlr.success.all()


@pytest.mark.parametrize("classes", [2, 3, 6])
def test_pitfall_21_there_is_a_round_for_each_rival_and_no_more(classes):
    case = testing.linear(classes)
    attack = Rivals(PGD(sp.Linf(1e-4), steps=2), n_target_classes=4)
    spent = sp.run(attack, case.target, case.goal, case.images).passes
    rounds = min(4, classes - 1)
    assert (spent.backwards == 2 * rounds).all()
    assert (spent.forwards == 1 + 3 * rounds).all()  # the ranking, then two slopes and a look each


def test_pitfall_21_rivals_are_steered_at_one_by_one_nearest_first():
    case = testing.linear(4)
    images, _ = asked_of(Rivals(PGD(sp.Linf(1e-3), steps=1, random_start=False), 3, RivalMargin), case)
    logits = case.module(case.images).detach()
    layer = case.module[1]
    ranks = case.goal.terms(logits).nearest(3)[1]
    for round in range(3):
        moved = images[1 + 2 * round + 1] - case.images
        lead = layer.weight[ranks[:, round]] - layer.weight[case.labels]
        assert torch.equal(moved.flatten(1).sign(), lead.detach().sign())


def test_pitfall_23_only_survivors_go_on_and_the_tensor_returned_is_what_was_confirmed():
    case = testing.small_net(12)
    ball = sp.Linf(0.03)
    parts = PGD(ball, steps=4), APGD(ball, steps=6), Square(ball, n_queries=20)
    alone = [sp.run(part, case.target, case.goal, case.images) for part in parts]
    outcome = sp.run(Cascade(*parts), case.target, case.goal, case.images)
    fell = alone[0].success
    assert 0 < int(fell.sum()) < 12
    assert torch.equal(outcome.examples[fell], alone[0].examples[fell])
    assert torch.equal(outcome.passes.forwards[fell], alone[0].passes.forwards[fell])
    standing = ~outcome.success
    assert (outcome.passes.forwards[standing] == 5 + 7 + 20).all()
    with torch.no_grad():
        won = case.goal(case.module(outcome.examples)).margin > 0
    assert torch.equal(won, outcome.success)


def test_a_cascade_has_one_ball():
    with pytest.raises(sp.errors.ConfigError, match=r"share one ball; got Linf\(0\.15\), Linf\(0\.25\)"):
        Cascade(PGD(sp.Linf(0.15)), PGD(sp.Linf(0.25)))
    with pytest.raises(sp.errors.ConfigError, match="a cascade of no attacks"):
        Cascade()


def test_pitfall_33_flags_are_restored_module_by_module():
    inner = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5))
    case = testing.small_net(4)
    model = nn.Sequential(inner, case.module).double().train()
    inner[0].eval()  # a frozen normalisation inside a model that trains
    before = {name: part.training for name, part in model.named_modules()}
    statistics = inner[0].running_mean.clone()
    sp.run(PGD(sp.Linf(0.1), steps=2), sp.Classifier(model), case.goal, case.images)
    assert {name: part.training for name, part in model.named_modules()} == before
    assert torch.equal(inner[0].running_mean, statistics)
    case.module.eval()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_pitfall_40_a_search_in_half_precision_is_confirmed_in_full(dtype):
    case = testing.small_net(12)
    module, images = case.module.float(), case.images.float()
    labels = module(images).argmax(1)
    goal = replace(sp.Misclassify(labels), loss=Margin())  # the cross-entropy's gradient would underflow in float16
    engine = sp.Engine(autocast=dtype)
    outcome = sp.run(PGD(sp.Linf(0.1), steps=10), sp.Classifier(module), goal, images, engine=engine)
    assert outcome.examples.dtype == torch.float32
    delta = outcome.examples - images
    assert float(delta.abs().max()) <= 0.1 + 1e-6
    with torch.no_grad():
        won = module(outcome.examples).argmax(1) != labels
    assert torch.equal(won, outcome.success)
    full = sp.run(PGD(sp.Linf(0.1), steps=10), sp.Classifier(module), goal, images)
    assert int(outcome.success.sum()) >= int(full.success.sum()) - 1
    case.module.double()


def test_randomness_of_rounds_is_keyed():
    """Restarts, rivals and cascades draw anew in each round, and the same for a row alone."""
    key = Key(torch.arange(3), 0)
    assert len({key.reseeded(i).seed for i in range(20)} | {key.seed}) == 21
    together, alone = (
        Key(indices, 0).reseeded(3).uniform("u", (1,)) for indices in (torch.arange(3), torch.tensor([1]))
    )
    assert torch.equal(together[1], alone[0])
