"""Carlini-Wagner and DeepFool, where implementations are known to go wrong; numbers as in test_pitfalls."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

import sparring as sp
from sparring import testing
from sparring.access import Keep
from sparring.attacks import DDN, FMN, CarliniWagner, DeepFool, Restarts
from sparring.attacks.minimal.constant_search import ConstantSearch
from sparring.errors import ConfigError, ThreatError
from sparring.geometry.region import Region


def flat_case(weights, images, bias=None):
    """A linear model with the given weights (classes, pixels) on images of one row of pixels."""
    layer = nn.Linear(weights.shape[1], len(weights)).double()
    with torch.no_grad():
        layer.weight.copy_(weights)
        layer.bias.copy_(torch.zeros(len(weights)) if bias is None else bias)
    module = nn.Sequential(nn.Flatten(), layer)
    images = images.double().view(len(images), 1, 1, -1)
    return testing.Case(module, images, module(images).argmax(1))


def run(attack, case, **options):
    return sp.run(attack, case.target, case.goal, case.images, **options)


def test_pitfall_01_carlini_wagner_searches_c_from_below_and_bisects():
    """The path of c, row by row: x10 until the first success, then between the two bounds."""
    attack = CarliniWagner(
        binary_search_steps=6, steps=40, initial_const=1e-3, warm_start=False, tolerance=0, learning_rate=0.02
    )
    case = testing.linear(2)
    ledger = sp.access.Ledger(Region.around(case.images, attack.ball), Keep.SMALLEST, sp.Budget())
    oracle = sp.Gradients(sp.access.QueryBroker(case.target, case.goal, ledger, 100, False))
    state = attack.init(oracle, sp.access.Batch(case.images, sp.random.Key(torch.arange(8), 0)))
    path, fell = [state.search.const.clone()], []
    for t in range(attack.total_steps):
        before, hit = state.search.round, state.search.found
        state = attack.step(oracle, state, t)
        moved = state.search.round > before
        if moved[0]:
            path.append(state.search.const.clone())
            fell.append(bool(hit[0]) or bool(ledger.won[0]))
    c = [float(p[0]) for p in path]
    first = next(i for i in range(len(c) - 1) if c[i + 1] < c[i])
    assert c[: first + 1] == pytest.approx([1e-3 * 10**i for i in range(first + 1)])
    assert c[first + 1] == pytest.approx((c[first] + c[first - 1]) / 2)
    low, high = c[first - 1], c[first]
    assert all(low < later < high for later in c[first + 1 :])
    assert float(state.search.low[0]) < float(state.search.high[0])


def test_pitfall_01_the_last_of_ten_rounds_tries_the_upper_bound():
    row, never = torch.ones(1, dtype=torch.float64), torch.tensor([False])
    count = torch.tensor([0])
    search = ConstantSearch(2 * row, row, 8 * row, torch.tensor([8]), count, never, row * torch.inf)
    ten, nine = (CarliniWagner(binary_search_steps=rounds, steps=1, tolerance=0) for rounds in (10, 9))
    assert float(ten._searched(search, never, row)[0].const) == 8
    assert float(nine._searched(replace(search, round=torch.tensor([7])), never, row)[0].const) == 5


@pytest.mark.parametrize("wrap", [lambda attack: attack, lambda attack: Restarts(attack, 2)])
@pytest.mark.parametrize("targeted", [False, True])
def test_pitfall_01_the_example_returned_has_the_confidence_asked_for(wrap, targeted):
    """Not merely the search: an example of a smaller margin on the way there does not count."""
    case = testing.linear(3)
    goal = sp.ClassifyAs((case.labels + 1) % 3) if targeted else case.goal
    sizes = []
    for confidence in (0.0, 0.2, 0.5):
        attack = wrap(CarliniWagner(binary_search_steps=5, steps=60, confidence=confidence))
        outcome = sp.run(attack, case.target, goal, case.images)
        margin = goal(case.module(outcome.examples)).margin
        assert outcome.success.all()
        assert (margin > confidence).all()
        assert (margin < 1.5 * confidence + 0.05).all()
        sizes.append(outcome.distance)
    assert (sizes[0] < sizes[1]).all()
    assert (sizes[1] < sizes[2]).all()
    with pytest.raises(ConfigError, match="CarliniWagner confidence=-1; pass a finite number >= 0"):
        CarliniWagner(confidence=-1)


def test_pitfall_02_carlini_wagner_moves_black_and_white_pixels():
    """On exact 0 and 1 a plain atanh is infinite and such pixels would never move."""
    weights = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])
    case = flat_case(weights, torch.tensor([[1.0, 1.0], [0.0, 0.0]]), bias=torch.tensor([-1.0, 1.0]))
    outcome = run(CarliniWagner(binary_search_steps=6, steps=500, learning_rate=0.1), case)
    assert outcome.success.all()
    assert (outcome.distance / math.sqrt(0.5)).max() < 1.05  # both pixels share the way: each moves by 0.5


def test_pitfall_04_carlini_wagner_gives_up_rounds_row_by_row():
    """A stalled neighbor must not end a row's round, nor keep it in one."""
    case = testing.linear(4)
    attack = CarliniWagner(binary_search_steps=5, steps=50)
    together = run(attack, case)
    for row in range(len(case.images)):
        alone = run(attack, testing.Case(case.module, case.images[row : row + 1], case.labels[row : row + 1]))
        assert int(alone.passes.forwards) == int(together.passes.forwards[row])
        assert float(alone.distance) == pytest.approx(float(together.distance[row]), abs=1e-9)
    assert len(together.passes.forwards.unique()) > 1


def test_pitfall_04_distances_are_to_the_true_image():
    case = testing.small_net(4)
    outcome = run(CarliniWagner(binary_search_steps=3, steps=30, learning_rate=0.05), case)
    assert outcome.success.any()
    true = (outcome.examples - case.images).flatten(1).norm(dim=1)
    assert torch.allclose(outcome.distance[outcome.success], true[outcome.success], atol=1e-12)


def test_pitfall_17_deepfool_lands_strictly_across():
    """A bare relative overshoot leaves rows on the boundary; float32 is where that shows."""
    case = testing.linear(4)
    single = testing.Case(case.module.float(), case.images.float(), case.labels)
    outcome = run(DeepFool(overshoot=0.0), single)
    assert outcome.success.all()
    assert (single.goal(single.module(outcome.examples)).margin > 0).all()


def test_pitfall_17_deepfool_survives_classes_without_a_slope():
    """A class with a constant logit has the label's slope alone; one equal to the label's has none."""
    weights = torch.tensor([[1.0, 2.0], [1.0, 2.0], [-1.0, 0.5]])
    case = flat_case(weights, torch.tensor([[0.6, 0.6], [0.7, 0.5]]), bias=torch.tensor([0.5, 0.4, 1.0]))
    outcome = run(DeepFool(), case)
    assert outcome.success.all()
    assert (case.module(outcome.examples).argmax(1) == 2).all()


def test_pitfall_17_deepfool_looks_at_no_more_classes_than_it_is_told():
    counting = testing.Counting(testing.small_net(3).module)
    case = testing.small_net(3)
    outcome = sp.run(DeepFool(candidates=2), sp.Classifier(counting), case.goal, case.images)
    wide = run(DeepFool(), case)
    assert (outcome.passes.backwards <= outcome.passes.forwards).all()  # one rival
    assert (wide.passes.backwards >= 3 * (wide.passes.forwards - 1)).all()  # all three; the last look asks no slope
    assert counting.backwards == int(outcome.passes.backwards.sum())


def test_pitfall_24_fmn_l0_reaches_rows_that_need_many_components():
    """All 400 weights alike and half of the pixels needed: growing by gamma does not get there in 24 steps."""
    weights = torch.stack((torch.zeros(400), torch.ones(400)))
    case = flat_case(weights, torch.full((2, 400), 0.25), bias=torch.tensor([0.0, -249.5]))
    outcome = run(FMN(sp.L0(), steps=24), case)
    assert outcome.success.all()
    assert (outcome.distance >= 200).all()  # (249.5 - 100) / 0.75
    assert (outcome.distance <= 230).all()


@pytest.mark.parametrize("ball", [sp.Linf(), sp.L2(), sp.L1(), sp.L0()], ids=str)
def test_fmn_does_not_depend_on_the_scale_of_the_logits(ball):
    """Pitfall 24: the first step, and the temperature of the smooth gap, are the row's own."""
    case = testing.small_net(6)
    loud = nn.Sequential(case.module, nn.Linear(4, 4, bias=False).double())
    with torch.no_grad():
        loud[1].weight.copy_(64 * torch.eye(4))
    plain = run(FMN(ball, steps=15), case)
    other = sp.run(FMN(ball, steps=15), sp.Classifier(loud), case.goal, case.images)
    assert plain.success.all()
    assert torch.equal(plain.success, other.success)
    assert (plain.examples - other.examples).abs().max() < 1e-2


def test_fmn_turns_to_the_nearest_rival_and_not_to_the_one_that_leads():
    """Class 1 leads and is far: its wall bends away. Class 2 trails and is near."""

    class Bent(nn.Module):
        def forward(self, images):
            first, second = images.flatten(1).unbind(1)
            wall = -1 + 4 * (first - 0.2) * (first < 0.3) + 0.4 * (first >= 0.3)
            return torch.stack((torch.zeros_like(first), wall, -1.2 + 5 * (second - 0.2)), dim=1)

    images = torch.full((1, 1, 1, 2), 0.2, dtype=torch.float64)
    case = testing.Case(Bent(), images, torch.tensor([0]))
    assert not run(FMN(sp.L2(), steps=40, temperature=0.0), case).success.any()
    outcome = run(FMN(sp.L2(), steps=40), case)
    assert outcome.success.all()
    assert float(outcome.distance) == pytest.approx(0.24, abs=0.02)


def test_senseless_parameters_of_fmn_and_ddn():
    with pytest.raises(ConfigError, match="FMN temperature=-1; pass a finite number >= 0"):
        FMN(sp.L2(), temperature=-1)
    with pytest.raises(ConfigError, match=r"DDN gamma=1\.5; pass a finite number > 0 and < 1"):
        DDN(gamma=1.5)
    with pytest.raises(ThreatError, match="DDN knows L2, not Linf; use FMN there"):
        DDN(ball=sp.Linf())
