"""EAD: laws, closed forms, its two decision rules beside Foolbox's, and pitfall 25 of test_pitfalls."""

from __future__ import annotations

from copy import deepcopy
from functools import partial

import pytest
import torch

import sparring as sp
from sparring import testing
from sparring.access import Batch, Budget, Gradients, Keep, Ledger, QueryBroker
from sparring.attacks.minimal.ead import EAD, DecisionRule
from sparring.errors import ConfigError, ThreatError
from sparring.geometry.region import Region
from sparring.random import Key
from sparring.zoo import load_data, load_model

PAPER = EAD(
    decision_rule=DecisionRule.L1,
    beta=1e-2,
    binary_search_steps=2,
    steps=8,
    initial_const=1e-1,
    warm_start=False,
    tolerance=0,
    abort_early=0.9999,
)


def run(attack, case, goal=None):
    return sp.run(attack, case.target, goal or case.goal, case.images)


def started(attack, case):
    ledger = Ledger(Region.around(case.images, attack.ball), Keep.SMALLEST, Budget())
    oracle = Gradients(QueryBroker(case.target, case.goal, ledger, 100, False))
    return oracle, attack.init(oracle, Batch(case.images, Key(torch.arange(len(case.images)), 0)))


def test_laws_of_the_l1_rule_as_in_the_paper():
    testing.check_attack(PAPER, tolerance=1e-9, ratio=None)


def test_the_l1_rule_comes_near_the_l1_optimum():
    """Not as near as in L2: the shrinkage, which does not fall with the rate, keeps the last steps coarse."""
    attack = EAD(beta=0.1, decision_rule=DecisionRule.L1, steps=200)
    testing.check_closed_form(attack, ratio=1.25, classes=2)


def test_the_elastic_net_reaches_its_optimum():
    """On two classes the optimum is a soft threshold of the slope, sized by one number: found by bisection."""
    case, beta = testing.linear(2), 0.3
    layer = case.module[1]
    slope = (layer.weight[1] - layer.weight[0]).detach().abs()
    lead = case.goal(case.module(case.images)).margin.detach().neg()
    low, high = torch.zeros_like(lead), torch.full_like(lead, 1e3)
    for _ in range(100):
        c = (low + high) / 2
        delta = (c[:, None] * slope - beta).clamp_min(0) / 2
        across = (delta * slope).sum(1) > lead
        low, high = torch.where(across, low, c), torch.where(across, c, high)
    best = delta.square().sum(1) + beta * delta.sum(1)
    attack = EAD(beta=beta, steps=200, abort_early=0.9999, tolerance=0.05, binary_search_steps=12)
    outcome = run(attack, case)
    ratio = attack.measure(outcome.examples - case.images, Region.around(case.images, attack.ball)) / best
    assert (delta == 0).any()
    assert float(ratio.min()) > 0.999
    assert float(ratio.max()) < 1.05


def test_pitfall_25_the_shrinkage_is_around_the_original():
    """One step by hand: components that move by less than beta stay at the original itself, to the bit."""
    case = testing.small_net(6)
    attack = EAD(beta=0.02, decision_rule=DecisionRule.L1, learning_rate=0.01, initial_const=1.0, steps=100)
    oracle, state = started(attack, case)
    slope = oracle.gradient(case.images, objective=lambda verdict, images: verdict.margin).grad
    after = attack.step(oracle, state, 0)
    way = 0.01 * slope
    expected = torch.where(way.abs() > 0.02, way - 0.02 * way.sign(), 0)
    assert torch.allclose(after.image, (case.images + expected).clamp(0, 1), atol=1e-12)
    assert torch.equal((after.image == case.images), way.abs() <= 0.02)


def test_pitfall_25_the_rate_falls_as_a_square_root():
    """With the hinge alone (beta 0, from the original) the step of k is rate * sqrt(1 - k / I)."""
    case = testing.linear(2)
    attack = EAD(beta=0.0, learning_rate=0.01, initial_const=1e-3, steps=10, abort_early=2.0)
    oracle, state = started(attack, case)
    for k in range(9):
        grad = oracle.gradient(state.extrapolated, objective=lambda verdict, images: verdict.margin).grad
        whole = 2 * (state.extrapolated - case.images) - 1e-3 * grad
        after = attack.step(oracle, state, k)
        rate = 0.01 * (1 - k / 10) ** 0.5
        assert torch.allclose(after.image, state.extrapolated - rate * whole, atol=1e-12)
        assert torch.allclose(after.extrapolated, after.image + k / (k + 3) * (after.image - state.image), atol=1e-12)
        state = after


def test_pitfall_25_the_two_rules_keep_different_examples():
    case = testing.small_net(10)
    net, sum_ = (
        run(EAD(beta=1e-2, decision_rule=rule, steps=100), case) for rule in (DecisionRule.EN, DecisionRule.L1)
    )
    assert net.success.all()
    assert sum_.success.all()
    one, other = net.examples - case.images, sum_.examples - case.images
    assert float((other.abs().flatten(1).sum(1) / one.abs().flatten(1).sum(1)).max()) < 1.0
    elastic = partial(EAD(beta=1e-2).measure, region=Region.around(case.images, sp.L1()))
    assert float((elastic(one) / elastic(other)).max()) < 1.0


def test_pitfall_04_rows_are_searched_on_their_own():
    case = testing.small_net(8)
    outcome = run(EAD(steps=60), case)
    assert outcome.success.all()
    assert len(outcome.passes.forwards.unique()) > 1


@pytest.mark.parametrize("targeted", [False, True])
def test_the_example_returned_has_the_confidence_asked_for(targeted):
    case = testing.linear(3)
    goal = sp.ClassifyAs((case.labels + 1) % 3) if targeted else case.goal
    outcome = run(EAD(steps=100, confidence=0.3), case, goal)
    assert outcome.success.all()
    assert (goal(case.module(outcome.examples)).margin > 0.3).all()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("rule", "beta"), [(DecisionRule.EN, 1e-3), (DecisionRule.L1, 1e-2)])
def test_it_is_as_near_as_foolboxs(rule, beta):
    import foolbox

    loaded = load_model("zoo:mnist-plain")
    chunk = next(iter(load_data("zoo:mnist-heldout", input=loaded.input, limit=24).chunks(24)))
    net = deepcopy(loaded.target.model).eval().requires_grad_(False)
    right = net(chunk.images).argmax(1) == chunk.labels
    images, labels = chunk.images[right], chunk.labels[right]
    attack = EAD(beta=beta, decision_rule=rule, steps=100)
    peer = foolbox.attacks.EADAttack(
        binary_search_steps=9, steps=100, regularization=beta, decision_rule=rule.value, initial_stepsize=0.01
    )
    found = peer.run(foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu"), images, labels)
    outcome = sp.run(attack, sp.Classifier(net), sp.Misclassify(labels), images)
    assert outcome.success.all()
    ours, theirs = (
        attack.measure(moved - images, Region.around(images, attack.ball)) for moved in (outcome.examples, found)
    )
    assert float(ours.median()) <= float(theirs.median())
    assert float(outcome.passes.forwards.double().mean()) < 300  # theirs is 500 to 1800


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: EAD(ball=sp.Linf()), ThreatError, "EAD knows L1 and L2, not Linf"),
        (
            lambda: EAD(decision_rule="EN"),
            ConfigError,
            "EAD decision_rule='EN'; pass DecisionRule.EN",
        ),
        (lambda: EAD(steps=0), ConfigError, "EAD steps=0; pass an integer >= 1"),
        (lambda: EAD(beta=-1.0), ConfigError, "EAD beta=-1.0; pass a finite number >= 0"),
    ],
)
def test_bad_input(make, error, message):
    with pytest.raises(error, match=message):
        make()
