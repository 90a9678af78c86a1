"""Carlini-Wagner in L0 and Linf: laws, closed forms, and pitfalls 1, 2, 4 and 5 of test_pitfalls."""

import pytest
import torch
from torch import nn

import sparring as sp
from sparring import testing
from sparring.access import Batch, Budget, Gradients, Keep, Ledger, QueryBroker
from sparring.attacks.minimal.carlini_wagner_l0 import CarliniWagnerL0
from sparring.attacks.minimal.carlini_wagner_linf import CarliniWagnerLinf
from sparring.errors import ConfigError, ThreatError
from sparring.geometry.region import Region
from sparring.random import Key


def oracle_of(attack, case):
    ledger = Ledger(Region.around(case.images, attack.ball), Keep.SMALLEST, Budget())
    return Gradients(QueryBroker(case.target, case.goal, ledger, 100, False)), ledger


def started(attack, case):
    oracle, ledger = oracle_of(attack, case)
    return oracle, ledger, attack.init(oracle, Batch(case.images, Key(torch.arange(len(case.images)), 0)))


def run(attack, case, goal=None):
    return sp.run(attack, case.target, goal or case.goal, case.images)


def test_laws_of_l0_components():
    attack = CarliniWagnerL0(steps=12, patience=3, ball=sp.L0(), warm_start=False)
    testing.check_attack(attack, tolerance=1e-12, ratio=None)


def flat_case(weights, images, bias):
    """A linear model on images of one row of pixels."""
    layer = nn.Linear(weights.shape[1], len(weights)).double()
    with torch.no_grad():
        layer.weight.copy_(weights)
        layer.bias.copy_(bias)
    module = nn.Sequential(nn.Flatten(), layer)
    images = images.double().view(len(images), 1, 1, -1)
    return testing.Case(module, images, module(images).argmax(1))


@pytest.mark.parametrize("lead", [0.3, 1.4, 1.8])
def test_l0_finds_the_fewest_components_of_a_linear_model(lead):
    """The fewest are the heaviest, moved to the edge: slopes 2, 1, 0.5, ... times half the range each."""
    slope = torch.tensor([[0.125, 0.5, 2.0, 0.25, 1.0, 0.1]])
    case = flat_case(torch.cat([slope / 2, -slope / 2]), torch.full((1, 6), 0.5), torch.zeros(2))
    bias = torch.tensor([lead, 0.0]).double() - torch.tensor([0.5, -0.5]).double() * slope.double().sum() / 2
    with torch.no_grad():
        case.module[1].bias.copy_(bias)
    gain = (slope.sort(descending=True).values * 0.5).cumsum(1)
    fewest = int((gain < lead).sum()) + 1
    outcome = run(CarliniWagnerL0(ball=sp.L0()), case)
    assert outcome.success.all()
    assert float(outcome.distance) == fewest


def test_l0_counts_pixels_or_components_as_its_ball_does():
    case = testing.small_net(6)
    pixels, components = (run(CarliniWagnerL0(steps=200, ball=sp.L0(pixels=p)), case) for p in (True, False))
    moved = pixels.examples != case.images
    assert torch.equal(moved.any(1).flatten(1).sum(1).double()[pixels.success], pixels.distance[pixels.success])
    assert (components.distance <= moved.flatten(1).sum(1)).double().mean() >= 0.5  # freer to choose
    assert (pixels.distance <= (components.examples != case.images).flatten(1).sum(1)).all()


def test_pitfall_05_l0_drops_the_sites_of_least_gradient_times_perturbation():
    """Once a row is across, the sites that it may go on moving are those with the largest |g * delta|."""
    case, attack = testing.linear(2), CarliniWagnerL0(drop_fraction=0.25, ball=sp.L0())
    oracle, _, state = started(attack, case)
    slope = oracle.gradient(case.images, objective=lambda verdict, images: verdict.margin).grad
    seen = torch.zeros(len(case.images), dtype=torch.bool)
    for t in range(30):
        before, state = state, attack.step(oracle, state, t)
        margin = case.goal(case.module(before.image)).margin
        first = (margin > 0) & ~seen
        for row in first.nonzero().flatten().tolist():
            gain = (slope[row] * (before.image - case.images)[row]).abs().flatten()
            moved = int((gain > 0).sum())
            expected = gain.topk(moved - moved // 4).indices.sort().values
            assert torch.equal(state.allowed[row].flatten().nonzero().flatten(), expected)
        seen |= first
    assert seen.all()


def test_pitfall_05_l0_starts_warm_from_the_last_image_across():
    case = testing.linear(2)
    for warm in (True, False):
        attack = CarliniWagnerL0(warm_start=warm)
        oracle, _, state = started(attack, case)
        for t in range(40):
            before, state = state, attack.step(oracle, state, t)
            dropped = (state.steps == 0) & (state.count > 0)
            wanted = torch.where(state.allowed, state.best, case.images) if warm else case.images
            assert torch.equal(state.image[dropped], wanted[dropped])
            assert (state.count[dropped] <= before.count[dropped].where(before.count[dropped] > 0, 48)).all()
        assert (state.count > 0).all()


def test_pitfall_05_linf_lowers_tau_where_a_row_is_solved_and_only_there():
    case, attack = testing.linear(2), CarliniWagnerLinf()
    oracle, ledger, state = started(attack, case)
    taus = []
    for t in range(80):
        before, state = state, attack.step(oracle, state, t)
        solved = (case.goal(case.module(before.image)).margin > 0) & (state.best < before.best)
        assert torch.equal(state.best[~solved], before.best[~solved])
        assert torch.allclose(state.best[solved], attack.ball.norm(before.image - case.images)[solved], atol=1e-12)
        taus.append(state.best.clone())
    assert (torch.stack(taus).diff(dim=0)[10:] <= 0).all()
    assert torch.allclose(state.best, -ledger.value, atol=1e-12)


@pytest.mark.parametrize("c", [1e-4, 1.0, 1e4])
def test_linf_finds_its_c_from_below_and_from_above(c):
    case = testing.linear(2)
    outcome = run(CarliniWagnerLinf(initial_const=c, patience=15), case)
    assert outcome.success.all()
    assert float((outcome.distance / testing.optimum(case, sp.Linf())).max()) < 1.15


@pytest.mark.parametrize("attack", [CarliniWagnerL0, CarliniWagnerLinf])
@pytest.mark.parametrize("targeted", [False, True])
def test_pitfall_01_the_example_returned_has_the_confidence_asked_for(attack, targeted):
    case = testing.linear(3)
    goal = sp.ClassifyAs((case.labels + 1) % 3) if targeted else case.goal
    sizes = []
    for confidence in (0.0, 0.3):
        outcome = run(attack(confidence=confidence), case, goal)
        assert outcome.success.all()
        assert (goal(case.module(outcome.examples)).margin > confidence).all()
        sizes.append(outcome.distance)
    assert (sizes[0] <= sizes[1]).all()
    assert (sizes[0] < sizes[1]).any()


@pytest.mark.parametrize("attack", [CarliniWagnerL0(), CarliniWagnerLinf()])
def test_pitfall_02_black_and_white_pixels_move(attack):
    """Through tanh they would take hundreds of steps."""
    weights = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])
    case = flat_case(weights, torch.tensor([[1.0, 1.0], [0.0, 0.0]]), torch.tensor([-1.0, 1.0]))
    images = torch.tensor([[1.0, 1.0], [0.0, 0.0]]).double().view(2, 1, 1, 2)
    outcome = run(attack, testing.Case(case.module, images, case.labels))
    assert outcome.success.all()
    if isinstance(attack, CarliniWagnerLinf):
        assert float(outcome.distance.max()) < 0.51  # both pixels share the way


@pytest.mark.parametrize("attack", [CarliniWagnerL0(), CarliniWagnerLinf()])
def test_pitfall_04_rows_end_on_their_own(attack):
    case = testing.small_net(8)
    together = run(attack, case)
    assert together.success.all()
    assert len(together.passes.forwards.unique()) > 1
    assert int(together.passes.forwards.max()) < attack.steps


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: CarliniWagnerL0(ball=sp.L2()), ThreatError, "CarliniWagnerL0 knows L0, not L2; use CarliniWagner"),
        (
            lambda: CarliniWagnerL0(drop_fraction=1.0),
            ConfigError,
            "drop_fraction=1.0; pass a finite number > 0 and < 1",
        ),
        (lambda: CarliniWagnerL0(const_factor=0.5), ConfigError, "const_factor=0.5; pass a finite number >= 1"),
        (lambda: CarliniWagnerLinf(ball=sp.L1()), ThreatError, "CarliniWagnerLinf knows Linf, not L1"),
        (
            lambda: CarliniWagnerLinf(decrease_factor=1.0),
            ConfigError,
            "decrease_factor=1.0; pass a finite",
        ),
        (lambda: CarliniWagnerLinf(initial_const=0.0), ConfigError, "initial_const=0.0; pass a finite number > 0"),
    ],
)
def test_bad_input(make, error, message):
    with pytest.raises(error, match=message):
        make()
