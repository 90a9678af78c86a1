"""Every attack on models that answer -inf for unused classes, that have no gradient, or whose gradient is zero."""

import pytest
import torch

import sparring as sp
from sparring import testing
from sparring.access import Gradients, Reason
from sparring.errors import AccessError

from .test_attack_laws import ROWS

GRADIENT_ATTACKS = {name: row.attack for name, row in ROWS.items() if issubclass(row.attack.access, Gradients)}
CASE = testing.small_net(5)
GOALS = (sp.Misclassify(CASE.labels), sp.ClassifyAs((CASE.labels + 1) % 4))
BROKEN = {Reason.NON_FINITE, Reason.NON_FINITE_GRADIENT}


def with_unused(x):
    logits = CASE.module(x)
    return torch.cat((logits, logits.new_full((len(logits), 3), -torch.inf)), 1)


@pytest.mark.parametrize("goal", GOALS, ids=["untargeted", "targeted"])
@pytest.mark.parametrize("name", ROWS)
def test_classes_that_are_never_answered_change_nothing(name, goal):
    attack = ROWS[name].attack
    plain, ours = (sp.run(attack, sp.Classifier(net), goal, CASE.images) for net in (CASE.module, with_unused))
    assert not BROKEN & set(ours.reasons)
    assert torch.equal(ours.success, plain.success)
    assert torch.allclose(ours.distance, plain.distance, rtol=1e-3)


@pytest.mark.parametrize("name", GRADIENT_ATTACKS)
def test_a_model_without_a_gradient_is_refused(name):
    with pytest.raises(AccessError, match="the target gives no gradient"):
        sp.run(GRADIENT_ATTACKS[name], sp.Classifier(lambda x: CASE.module(x.detach())), GOALS[0], CASE.images)


def steps(x):
    return CASE.module((x * 255).round() / 255)


@pytest.mark.parametrize("name", GRADIENT_ATTACKS)
def test_where_the_gradient_is_zero_an_attack_ends_early_and_says_so(name):
    attack, seen = GRADIENT_ATTACKS[name], []

    def watched(x):
        seen.append(bool(x.isfinite().all()))
        return steps(x)

    outcome = sp.run(attack, sp.Classifier(watched), GOALS[0], CASE.images)
    assert all(seen), "an image with NaN was queried"
    assert outcome.zero_gradient.all()
    assert "every gradient was exactly zero on 5 of 5 rows" in str(outcome)
    assert set(outcome.reasons) <= {Reason.NO_GRADIENT, Reason.FOUND, Reason.ALREADY}


@pytest.mark.parametrize(
    "attack",
    [
        sp.attacks.PGD(sp.Linf(0.1)), sp.attacks.APGD(sp.Linf(0.1)), sp.attacks.L1APGD(sp.L1(4)),
        sp.attacks.CarliniWagner(), sp.attacks.CarliniWagnerL0(), sp.attacks.CarliniWagnerLinf(), sp.attacks.EAD(),
        sp.attacks.LBFGS(), sp.attacks.DDN(), sp.attacks.FMN(sp.L2()), sp.attacks.ALMA(sp.L2()),
        sp.attacks.PDPGD(sp.L2()), sp.attacks.SigmaZero(), sp.attacks.FABT(sp.L2()), sp.attacks.JSMA(),
    ],
    ids=lambda attack: attack.name,
)  # fmt: skip
def test_with_its_own_number_of_steps_too(attack):
    outcome = sp.run(attack, sp.Classifier(steps), GOALS[0], CASE.images)
    assert set(outcome.reasons) == {Reason.NO_GRADIENT}
    assert outcome.passes.backwards.amax() <= 25


def test_an_attack_that_begins_again_goes_on():
    """At another point there may be a gradient: here left of a half of the first pixel."""

    def net(x):
        bright = (x[:, :1, :1, :1] > 0.5).to(x.dtype)
        return CASE.module(x) * (1 - bright).flatten(1) + bright.flatten(1) * CASE.module(x).detach()

    x = CASE.images.clone()
    x[:, 0, 0, 0] = 0.55
    goal = sp.Misclassify(CASE.module(x).argmax(1))
    once, often = sp.attacks.PGD(sp.Linf(0.1), steps=30), sp.attacks.Restarts(sp.attacks.PGD(sp.Linf(0.1), steps=30), 8)
    single, restarted = (sp.run(attack, sp.Classifier(net), goal, x) for attack in (once, often))
    assert (single.passes.backwards[single.zero_gradient] <= 21).all()
    assert int(restarted.zero_gradient.sum()) < int(single.zero_gradient.sum())


def test_a_row_without_a_gradient_does_not_slow_or_end_the_others():
    def net(x):
        flat = (x[:, 0, 0, 0] > 0.5)[:, None]
        return torch.where(flat, CASE.module(x.detach()) + 0 * CASE.module(x), CASE.module(x))

    x = CASE.images.clone()
    x[:, 0, 0, 0] = torch.tensor([0.9, 0.1, 0.9, 0.1, 0.1])
    goal, attack = sp.Misclassify(CASE.module(x).argmax(1)), sp.attacks.PGD(sp.Linf(0.02), steps=30)
    together = sp.run(attack, sp.Classifier(net), goal, x)
    assert together.zero_gradient.tolist() == [True, False, True, False, False]
    rows = torch.tensor([1, 3, 4])
    alone = sp.run(attack, sp.Classifier(net), sp.rows.take(goal, rows), x[rows], indices=rows)
    assert torch.equal(together.examples[rows], alone.examples)
    assert torch.equal(together.passes.backwards[rows], alone.passes.backwards)
    assert together.passes.backwards[0] <= 21


def test_a_resumed_run_ends_such_rows_at_the_same_step(tmp_path):
    attack = sp.attacks.DDN(steps=60)
    whole = sp.run(attack, sp.Classifier(steps, identity="steps"), GOALS[0], CASE.images)

    def stop(progress):
        if progress.step == 7:
            raise KeyboardInterrupt

    engine = sp.Engine(checkpoint=tmp_path, checkpoint_seconds=-1, progress=stop)
    with pytest.raises(KeyboardInterrupt):
        sp.run(attack, sp.Classifier(steps, identity="steps"), GOALS[0], CASE.images, engine=engine)
    engine = sp.Engine(checkpoint=tmp_path, checkpoint_seconds=-1)
    again = sp.run(attack, sp.Classifier(steps, identity="steps"), GOALS[0], CASE.images, engine=engine)
    assert torch.equal(again.passes.backwards, whole.passes.backwards)
