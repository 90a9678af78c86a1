"""sigma-zero: the laws, what it counts, and its threshold."""

import pytest
import torch
from torch import nn

import sparring as sp
from sparring import testing
from sparring.access import Keep
from sparring.attacks.minimal.sigma_zero import SigmaZero
from sparring.errors import ConfigError, ThreatError
from sparring.geometry.region import Region

BALLS = (sp.L0(), sp.L0(pixels=True))


def attacked(attack, case, **options):
    return sp.run(attack, case.target, case.goal, case.images, **options)


def dominated(channels=3):
    """A linear model where one component of each image outweighs all the others together."""
    layer = nn.Linear(channels * 16, 2).double()
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[1] = 0.01
        layer.weight[1, 5] = 4.0
        layer.bias.copy_(torch.tensor([0.0, -2.6]))
    images = torch.full((4, channels, 4, 4), 0.5, dtype=torch.float64)
    images += 0.05 * testing.cases.draw("dominated", tuple(images.shape))
    module = nn.Sequential(nn.Flatten(), layer)
    return testing.Case(module, images, module(images).argmax(1))


def test_closed_form_one_component_is_enough():
    case = dominated()
    assert (case.labels == 0).all()
    outcome = attacked(SigmaZero(steps=60), case)
    assert outcome.success.all()
    assert (outcome.distance == 1).all()
    moved = (outcome.examples != case.images).flatten(1)
    assert moved[:, 5].all()


@pytest.mark.parametrize("targeted", [False, True])
def test_every_class_and_goal(targeted):
    case = testing.small_net(6)
    goal = sp.ClassifyAs((case.labels + 1) % 4) if targeted else case.goal
    outcome = sp.run(SigmaZero(steps=80), case.target, goal, case.images)
    assert outcome.success.all()
    assert (goal(case.module(outcome.examples)).margin > 0).all()
    assert outcome.distance.max() < case.images[0].numel() / 4, "that is not sparse"


def test_pixels_cost_no_more_than_the_components_they_hold():
    """A pixel falls or stays as a whole: the threshold is not its channels', one by one."""
    case = testing.small_net(6)
    pixels = attacked(SigmaZero(sp.L0(pixels=True), steps=80), case)
    components = attacked(SigmaZero(sp.L0(), steps=80), case)
    assert pixels.success.all()
    assert (pixels.distance == sp.L0(pixels=True).norm(pixels.examples - case.images)).all()
    assert pixels.distance.double().mean() < sp.L0(pixels=True).norm(components.examples - case.images).mean()


def test_what_is_below_the_threshold_is_exactly_zero_and_the_threshold_follows_the_row():
    case, attack = testing.small_net(6), SigmaZero(steps=30, tau_factor=0.05)
    ledger = sp.access.Ledger(Region.around(case.images, attack.ball), Keep.SMALLEST, sp.Budget())
    oracle = sp.Gradients(sp.access.QueryBroker(case.target, case.goal, ledger, 100, False))
    state = attack.init(oracle, sp.access.Batch(case.images, sp.random.Key(torch.arange(6), 0)))
    ups = downs = 0
    for t in range(attack.steps):
        across = case.goal(case.module(case.images + state.delta)).margin > 0
        moved = attack.step(oracle, state, t)
        free = (state.tau > 0) & (state.tau < 1)
        assert (moved.tau > state.tau)[across & free].all()
        assert (moved.tau < state.tau)[~across & free].all()
        size = moved.delta.abs().flatten(1)
        assert ((size == 0) | (size >= moved.tau[:, None] - 1e-12)).all()
        ups, downs, state = ups + int(across.sum()), downs + int((~across).sum()), moved
    assert ups > 0
    assert downs > 0


def test_more_steps_find_fewer_components():
    case = testing.small_net(8)
    few, many = (attacked(SigmaZero(steps=steps), case) for steps in (10, 100))
    assert many.success.all()
    assert many.distance.mean() < few.distance[few.success].mean()


@pytest.mark.parametrize(
    "setting", [{"steps": 0}, {"learning_rate": 0.0}, {"sigma": 0.0}, {"tau_factor": -1.0}, {"tau": 1.5}]
)
def test_senseless_parameters(setting):
    (name,) = setting
    with pytest.raises(ConfigError, match=rf"SigmaZero {name}=.*; pass "):
        SigmaZero(**setting)


def test_other_norms():
    with pytest.raises(ThreatError, match="SigmaZero knows L0, not L2; use FMN there"):
        SigmaZero(sp.L2())
