"""The distributionally adversarial attack: its kernel against autograd, its rows together and alone, and the laws."""

from dataclasses import dataclass, replace

import pytest
import torch

import sparring as sp
from sparring import testing
from sparring.access import BatchCoupled, Keep
from sparring.attacks import FGSM, PGD, Cascade, Restarts, Rivals
from sparring.attacks.gradient.daa import DAADGF, DAABlob
from sparring.attacks.transfer import InputDiversity, TransferAttack
from sparring.errors import ConfigError, ThreatError
from sparring.random import Key

FORMS = [DAABlob, DAADGF]
STRONG = {DAABlob: 30.0, DAADGF: 1.0}  # weights with which the others are felt
SETTINGS = {"steps": 6, "random_start": False}


def run(attack, case, **options):
    return sp.run(attack, case.target, case.goal, case.images, **options)


def points(count=6):
    return Key(torch.arange(count), 3).normal("points", (5,), dtype=torch.float64)


def energies(x, width):
    """sum_ij K_ij / 2 and sum_ij d_ij^2 K_ij / 2, from the definition."""
    squares = (x[:, None] - x[None]).square().sum(2)
    kernel = torch.exp(-squares / width)
    return kernel.sum() / 2, (squares * kernel).sum() / 2


def median_width(x):
    """The lower median over all pairs, over log(n + 1)."""
    pairs = [float((x[i] - x[j]).square().sum()) for i in range(len(x)) for j in range(i)]
    return sorted(pairs)[(len(pairs) - 1) // 2] / torch.log(torch.tensor(len(x) + 1.0)).item()


@pytest.mark.parametrize("form", FORMS)
def test_the_kernel_is_the_gradient_of_its_energy(form):
    x = points().requires_grad_()
    blob, flow = energies(x, median_width(x.detach()))
    expected = torch.autograd.grad(blob, x)[0] / len(x) if form is DAABlob else torch.autograd.grad(flow, x)[0] / 2
    pushed = form(sp.Linf(0.1)).interaction(x.detach(), torch.zeros_like(x))
    assert float(expected.abs().max()) > 1e-3
    assert torch.allclose(pushed, expected, atol=1e-7)


def test_the_blob_form_shares_gradients_by_the_kernel():
    x, grads = points(), points().flip(0)
    attack = DAABlob(sp.Linf(0.1))
    shared = attack.interaction(x, grads) - attack.interaction(x, torch.zeros_like(x))
    kernel = torch.exp(-(x[:, None] - x[None]).square().sum(2) / median_width(x))
    assert torch.allclose(shared, kernel @ grads / len(x), atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_what_the_rows_do_to_one_another_adds_up_to_nothing(form):
    x = points()
    assert float(form(sp.Linf(0.1)).interaction(x, torch.zeros_like(x)).sum(0).abs().max()) < 1e-12


@pytest.mark.parametrize("form", FORMS)
def test_the_same_row_ends_elsewhere_in_another_batch(form):
    case, attack = testing.small_net(6), form(sp.Linf(0.02), weight=STRONG[form], **SETTINGS)
    assert isinstance(attack, BatchCoupled)
    together = run(attack, case, keep=Keep.HIGHEST_LOSS).examples
    apart = run(attack, case, keep=Keep.HIGHEST_LOSS, engine=sp.Engine(batch_size=3)).examples
    assert (together - apart).abs().flatten(1).amax(1).max() > 1e-3


def test_what_is_made_of_an_attack_acts_on_rows_as_the_attack_does():
    for attack in (DAABlob(sp.Linf(0.02)), PGD(sp.Linf(0.02))):
        acts = isinstance(attack, BatchCoupled)
        made = Restarts(attack, 2), Rivals(attack, 2), TransferAttack(attack, InputDiversity())
        assert [one.batch_coupled for one in (attack, *made, Cascade(FGSM(attack.ball), *made))] == [acts] * 5


def test_the_batch_law_is_not_asked_of_what_is_made_of_it():
    attack = Restarts(DAABlob(sp.Linf(0.02), weight=STRONG[DAABlob], **SETTINGS), 2)
    with pytest.raises(AssertionError, match=r"DAABlob x 2 at batch size 1,"):
        testing.check_batch_law(attack)
    testing.check_attack(attack, ratio=None)


@pytest.mark.parametrize("form", FORMS)
def test_alone_or_without_weight_it_is_pgd(form):
    case = testing.small_net(6)
    plain = run(PGD(sp.Linf(0.03), steps=6), case, keep=Keep.HIGHEST_LOSS)
    alone = form(sp.Linf(0.03), steps=6, weight=STRONG[form], loss=None)
    other = run(alone, case, keep=Keep.HIGHEST_LOSS, engine=sp.Engine(batch_size=1))
    assert torch.equal(other.examples, plain.examples)
    assert torch.equal(run(replace(alone, weight=0.0), case, keep=Keep.HIGHEST_LOSS).examples, plain.examples)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_at_distance_zero_give_no_nan(form, dtype):
    """All rows alike: no kernel to speak of, plain PGD. Some alike: no division by their distance."""
    case = testing.small_net(4)
    module = case.module.to(dtype)
    for chosen in ([0, 0, 0], [0, 0, 1, 2]):
        images, labels = case.images[chosen].to(dtype), case.labels[chosen]
        attack = form(sp.Linf(0.03), weight=STRONG[form], loss=None, **SETTINGS)
        goal, target = sp.Misclassify(labels), sp.Classifier(module)
        examples = sp.run(attack, target, goal, images, keep=Keep.HIGHEST_LOSS).examples
        assert examples.isfinite().all()
        assert torch.equal(examples[0], examples[1])
        assert (examples - images).flatten(1).abs().amax(1).min() > 0.02
        if len(set(chosen)) == 1:
            plain = sp.run(PGD(sp.Linf(0.03), **SETTINGS), target, goal, images, keep=Keep.HIGHEST_LOSS).examples
            assert torch.equal(examples, plain)


@dataclass(frozen=True)
class Watched(DAADGF):
    seen: tuple = ()

    def interaction(self, points, grads):
        self.seen[0].append(len(points))
        return super().interaction(points, grads)


def test_rows_that_are_won_leave_the_kernel():
    case, seen = testing.small_net(12), []
    outcome = run(Watched(sp.Linf(0.03), steps=12, seen=(seen,)), case)
    assert seen[0] == 12
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] < 12
    assert sum(seen) == int(outcome.passes.backwards.sum())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("ball", [sp.Linf(0.05), sp.L2(0.4), sp.L1(4), sp.L0(6)], ids=str)
def test_every_law_but_the_batch_law(form, ball):
    attack = form(ball, steps=6)
    testing.check_feasible(attack)
    testing.check_reported_success(attack)
    testing.check_budget(attack)
    testing.check_access(attack)
    testing.check_resume(attack)
    testing.check_target_unchanged(attack)


@pytest.mark.parametrize("form", FORMS)
def test_closed_form(form):
    """Tried row by row, so without the others."""
    testing.check_closed_form(form(sp.Linf(0.1), steps=10), ratio=1.001)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("targeted", [False, True])
def test_it_wins_with_two_classes_and_with_targets(form, targeted):
    case = testing.small_net(6)
    middle = case.module(case.images).detach().mean(0)

    def module(x):
        return (case.module(x) - middle)[:, :2]

    labels = module(case.images).argmax(1)
    goal = sp.ClassifyAs(1 - labels) if targeted else sp.Misclassify(labels)
    outcome = sp.run(form(sp.Linf(0.2), steps=10), sp.Classifier(module), goal, case.images)
    assert outcome.success.all()
    assert (goal(module(outcome.examples)).margin > 0).all()


@pytest.mark.parametrize("form", FORMS)
def test_bad_parameters(form):
    with pytest.raises(ConfigError, match=rf"{form.__name__} weight=-1; pass a finite number >= 0"):
        form(sp.Linf(0.1), weight=-1)
    with pytest.raises(ConfigError, match=rf"{form.__name__} steps=0"):
        form(sp.Linf(0.1), steps=0)
    with pytest.raises(ThreatError, match=rf"{form.__name__} needs a radius"):
        form(sp.Linf())
