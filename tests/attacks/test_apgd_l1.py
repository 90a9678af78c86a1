"""APGD in L1: three radii in turn, each from where the one before ended, and nothing beyond eps counts."""

import pytest
import torch

import sparring as sp
from sparring import testing
from sparring.access import Keep
from sparring.attacks import L1APGD


def test_the_steps_are_spent_at_three_radii():
    attack = L1APGD(sp.L1(2.0), steps=100)
    radii = [attack._radius_at(t)[0] for t in range(100)]
    assert radii == [3.0] * 30 + [2.0] * 30 + [1.0] * 40  # in eps
    assert [attack._radius_at(t)[1:] for t in (0, 29, 30, 60, 99)] == [(0, 30), (29, 30), (0, 30), (0, 40), (39, 40)]
    assert [L1APGD(sp.L1(2.0), steps=3)._radius_at(t) for t in range(3)] == [(1.0, t, 3) for t in range(3)]
    assert {L1APGD(sp.L1(2.0), use_largereps=False)._radius_at(t)[0] for t in range(100)} == {1.0}


class Listening(torch.nn.Module):
    """Remembers how far the images that it was asked about had moved."""

    def __init__(self, module, images):
        super().__init__()
        self.module, self.images, self.far = module, images, []

    def forward(self, x):
        self.far.append(float((x.detach() - self.images).abs().flatten(1).sum(1).max()))
        return self.module(x)


def test_it_asks_from_outside_inwards_and_returns_what_lies_inside():
    case = testing.small_net(1)
    heard = Listening(case.module, case.images)
    engine = sp.Engine(compact=False)
    attack = L1APGD(sp.L1(1.0), steps=20)
    outcome = sp.run(attack, sp.Classifier(heard), case.goal, case.images, keep=Keep.HIGHEST_LOSS, engine=engine)
    asked = heard.far[1:21]  # after the look at the clean images
    assert 2.0 < max(asked[:6]) <= 3.0 + 1e-9
    assert 1.0 < max(asked[6:12]) <= 2.0 + 1e-9
    assert max(asked[12:]) <= 1.0 + 1e-9
    assert ((outcome.examples - case.images).abs().flatten(1).sum(1) <= 1.0 + 1e-6).all()
    assert attack.queries_outside_ball


@pytest.mark.parametrize("eps", [1.0, 2.0])
def test_the_last_radius_begins_at_the_best_point_of_the_one_before(eps):
    """Projected, not drawn anew: the first question there is no worse than a random start, in the mean."""
    case = testing.small_net(12)
    losses = []

    class Watching(L1APGD):
        def step(self, oracle, state, t):
            state = super().step(oracle, state, t)
            losses.append(float(state.best_loss.mean()))
            return state

    watching, engine = Watching(sp.L1(eps), steps=20), sp.Engine(compact=False)
    sp.run(watching, case.target, case.goal, case.images, keep=Keep.HIGHEST_LOSS, engine=engine)
    assert losses[12] > losses[0]
    fresh = L1APGD(sp.L1(eps), steps=1, use_largereps=False)
    random = sp.run(fresh, case.target, case.goal, case.images, keep=Keep.HIGHEST_LOSS)
    with torch.no_grad():
        before = float(case.goal(case.module(random.examples)).loss.mean())
    assert losses[12] >= before - 0.05
