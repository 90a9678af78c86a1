"""L-BFGS: the laws, the inner problem beside SciPy's L-BFGS-B, and where implementations go wrong."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

import sparring as sp
from sparring import testing
from sparring.access import Batch, Budget, Gradients, Keep, Ledger, QueryBroker
from sparring.attacks import CarliniWagner
from sparring.attacks.minimal.lbfgs import LBFGS
from sparring.errors import ConfigError, ThreatError
from sparring.geometry.region import Region
from sparring.goals import CrossEntropy
from sparring.random import Key


def minimised(attack, case, goal, steps):
    """The state after `steps` trials of the first round at most, without the engine."""
    ledger = Ledger(Region.around(case.images, attack.ball), Keep.SMALLEST, Budget())
    oracle = Gradients(QueryBroker(case.target, goal, ledger, 100, False))
    state = attack.init(oracle, Batch(case.images, Key(torch.arange(len(case.images)), 0)))
    for t in range(steps):
        later = attack.step(oracle, state, t)
        if len(case.images) == 1 and bool(attack.done(later)):
            break
        state = later
    return state


def objective(case, goal, images, c):
    """(B,) c |r|^2 + loss."""
    return c * (images - case.images).square().flatten(1).sum(1) - goal(case.module(images), CrossEntropy()).loss


def saturated(count):
    """The small net on images of strong contrast, so that the box binds."""
    case = testing.small_net(count)
    images = (0.5 + 2.2 * (case.images - 0.5)).clamp(0, 1)
    with torch.no_grad():
        return testing.Case(case.module, images, case.module(images).argmax(1))


@pytest.mark.parametrize("c", [0.3, 0.03, 0.003])
@pytest.mark.parametrize("targeted", [False, True])
def test_the_inner_problem_has_scipys_minimum(c, targeted):
    """One row each, a fixed c; with c = 0.003 a good part of the components is at the edge of the range."""
    for row in range(3):
        whole = saturated(3)
        case = testing.Case(whole.module, whole.images[row : row + 1], whole.labels[row : row + 1])
        goal = sp.ClassifyAs((case.labels + 1) % 4) if targeted else case.goal
        attack = LBFGS(initial_const=c, binary_search_steps=1, steps=500, precision=0, loss=CrossEntropy())
        image = minimised(attack, case, goal, 200).current.image

        def asked(flat, case=case, goal=goal):
            images = torch.from_numpy(flat.reshape(case.images.shape)).requires_grad_()
            value = objective(case, goal, images, c).sum()
            (grad,) = torch.autograd.grad(value, images)
            return value.item(), grad.numpy().ravel()

        start = case.images.numpy().ravel()
        theirs = minimize(asked, start, jac=True, method="L-BFGS-B", bounds=[(0, 1)] * start.size)
        ours = objective(case, goal, image, c).item()
        first = objective(case, goal, case.images, c).item()
        assert first - ours >= 0.99 * (first - theirs.fun)
        assert ours <= theirs.fun + 0.01 * abs(theirs.fun)
        if c == 0.003:
            assert ((image == 0) | (image == 1)).double().mean() > 0.2
            edge = np.mean((theirs.x == 0) | (theirs.x == 1))
            assert float(((image == 0) | (image == 1)).double().mean()) == pytest.approx(edge, abs=0.15)


def test_pitfall_06_each_row_has_its_own_line_search():
    """Rows of one batch take other step lengths and other numbers of trials, and end where they end alone."""
    case = saturated(6)
    attack = LBFGS(initial_const=0.01, binary_search_steps=1, steps=500, precision=1e-6, loss=CrossEntropy())
    lengths = [minimised(attack, case, case.goal, t).step_size for t in range(1, 12)]
    assert any(len(length.unique()) > 1 for length in lengths)
    assert min(float(length.min()) for length in lengths) < 1
    together = sp.run(LBFGS(), case.target, case.goal, case.images)
    assert len(together.passes.forwards.unique()) > 1
    for row in range(6):
        alone = testing.Case(case.module, case.images[row : row + 1], case.labels[row : row + 1])
        one = sp.run(LBFGS(), alone.target, alone.goal, alone.images)
        assert float(one.distance) == pytest.approx(float(together.distance[row]), rel=1e-3)


def test_pitfall_06_no_step_raises_the_objective():
    case = saturated(6)
    attack = LBFGS(initial_const=0.02, binary_search_steps=1, steps=500, precision=0, loss=CrossEntropy())
    values = [objective(case, case.goal, minimised(attack, case, case.goal, t).current.image, 0.02) for t in range(15)]
    assert (torch.stack(values).diff(dim=0) <= 1e-12).all()
    assert (values[-1] < values[0] - 0.01).all()


def test_the_search_lands_between_two_values_of_c():
    whole, attack = testing.small_net(3), LBFGS(binary_search_steps=30, tolerance=0.1)
    for row in range(3):
        case = testing.Case(whole.module, whole.images[row : row + 1], whole.labels[row : row + 1])
        search = minimised(attack, case, case.goal, 1000).search
        assert 0 < float(search.low) < float(search.weight) < float(search.high)
        assert 1.1 < float(search.high / search.low) < 1.1**2.1  # one bisection before the end
        assert int(search.round) < 29


@pytest.mark.parametrize("targeted", [False, True])
def test_every_row_falls_and_carlini_wagner_is_nearer(targeted):
    """The objective is the paper's, with the cross-entropy: near the minimum, and not as near as the margin's."""
    case = testing.small_net(10)
    goal = sp.ClassifyAs((case.labels + 1) % 4) if targeted else case.goal
    ours, theirs = (
        sp.run(attack, case.target, goal, case.images)
        for attack in (LBFGS(), CarliniWagner(steps=100, learning_rate=0.05))
    )
    assert torch.equal(ours.success, theirs.success)  # one target is out of reach in the range
    assert ours.success.sum() >= 9
    ratio = (ours.distance / theirs.distance)[ours.success]
    assert 0.97 < float(ratio.median()) < 1.3


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: LBFGS(ball=sp.Linf()), ThreatError, "LBFGS knows L2, not Linf"),
        (lambda: LBFGS(history_size=0), ConfigError, "LBFGS history_size=0; pass an integer >= 1"),
        (lambda: LBFGS(initial_const=0.0), ConfigError, "LBFGS initial_const=0.0; pass a finite number > 0"),
    ],
)
def test_bad_input(make, error, message):
    with pytest.raises(error, match=message):
        make()
