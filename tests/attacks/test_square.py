"""Square against a slow, literal loop of the paper's algorithms 2 and 3, and its schedule, draws and odd shapes."""

import math

import numpy as np
import pytest
import torch

import sparring as sp
from sparring import testing
from sparring.access import Batch, Keep
from sparring.attacks import Square
from sparring.attacks.score.square import BLOCK
from sparring.attacks.score.square_window import eta
from sparring.geometry.region import Region
from sparring.random import Key

MARKS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # of 10,000: appendix A
SHAPES = [(1, 1, 1), (3, 1, 1), (1, 1, 8), (3, 8, 1), (1, 2, 2), (3, 5, 13), (1, 28, 3), (40, 4, 4)]


def literal_rectangles(x, y):
    """Nested rectangles around the middle, each adding 1 / (i + 1)^2, of norm 1: the paper's eta, one half."""
    delta = np.zeros([x, y])
    top, left = x // 2, y // 2
    for i in range(max(x // 2 + 1, y // 2 + 1)):
        for row in range(x):
            for column in range(y):
                if top - i <= row <= top + i and left - i <= column <= left + i:
                    delta[row, column] += 1 / (i + 1) ** 2
    return delta / np.sqrt((delta**2).sum())


@pytest.mark.parametrize("side", [2, 3, 4, 5, 7, 12, 31])
def test_eta_is_the_papers(side):
    half = side // 2
    expected = np.concatenate((literal_rectangles(half, side), -literal_rectangles(side - half, side)))
    expected /= np.sqrt((expected**2).sum())
    ours = eta(side, torch.float64, torch.device("cpu"))
    assert np.allclose(ours.numpy(), expected, atol=1e-14)
    assert eta(side, torch.float32, torch.device("cpu")).dtype == torch.float32


def corners_and_signs(draw, side, channels, height, width):
    at = [(int(draw[i]) * ((height if i % 2 == 0 else width) - side + 1)) >> 31 for i in range(4)]
    signs = [1.0 if int(draw[4]) >> c & 1 else -1.0 for c in range(channels)]
    return at, signs


def literal_algorithm_3(x, delta, draw, side, eps):
    """One proposal for one image (C, H, W), written as the paper lists it."""
    channels, height, width = x.shape
    (r, s, r2, s2), signs = corners_and_signs(draw, side, channels, height, width)
    pattern = eta(side, torch.float64, torch.device("cpu")).numpy()
    if not (int(draw[0]) ^ int(draw[1])) & 1:
        pattern = pattern.T
    new = delta.copy()
    one, two = np.zeros((height, width), bool), np.zeros((height, width), bool)
    one[r : r + side, s : s + side] = True
    two[r2 : r2 + side, s2 : s2 + side] = True
    left = max(eps**2 - (delta**2).sum(), 0) / channels
    new[:, two] = 0
    for c in range(channels):
        available = math.sqrt((delta[c][one | two] ** 2).sum() + left)
        window = delta[c, r : r + side, s : s + side]
        size = math.sqrt((window**2).sum())
        update = signs[c] * pattern + (window / size if size > 0 else 0)
        length = math.sqrt((update**2).sum())
        if length < 1e-9:
            return None  # the new window cancels the old one: what is left is rounding
        new[c, r : r + side, s : s + side] = update / length * available
    new = new / math.sqrt((new**2).sum()) * eps
    return np.clip(x + new, 0, 1) - x


def literal_algorithm_2(x, delta, draw, side, eps):
    channels, height, width = x.shape
    (r, s, _, _), signs = corners_and_signs(draw, side, channels, height, width)
    new = delta.copy()
    for c in range(channels):
        new[c, r : r + side, s : s + side] = signs[c] * eps
    return np.clip(x + new, 0, 1) - x


@pytest.mark.parametrize(("ball", "literal"), [
    (sp.L2(1.5), literal_algorithm_3), (sp.Linf(0.1), literal_algorithm_2),
])  # fmt: skip
@pytest.mark.parametrize("shape", [(3, 9, 9), (1, 12, 7), (2, 7, 11)])
def test_every_proposal_is_that_of_a_literal_loop(ball, literal, shape):
    attack, channels = Square(ball, n_queries=200, p_init=0.5), shape[0]
    x = (0.5 + 0.4 * Key(torch.arange(3), 5).normal("x", shape, dtype=torch.float64)).clamp(0, 1)
    key, asked = Key(torch.arange(3), 0), []

    class Listening:
        """Answers with a fixed rough function of the image, and notes what it was asked."""

        region = Region.around(x, ball)

        def score(self, images):
            asked.append(images.clone())
            return sp.goals.Verdict((images * 37).sin().flatten(1).sum(1), images.flatten(1).sum(1))

    oracle = Listening()
    oracle.key = key
    state = attack.init(oracle, Batch(x, key))
    taken = 0
    for t in range(1, 130):
        before, asked[:] = state, []
        state = attack.step(oracle, state, t)
        share = attack.p_init / 2 ** sum(t / 200 * 10_000 > mark for mark in MARKS)
        side = round(math.sqrt(share * shape[1] * shape[2]))
        if isinstance(ball, sp.L2):
            side = max(side, 3) + (max(side, 3) + 1) % 2
        side = max(min(side, *(n if isinstance(ball, sp.L2) else n - 1 for n in shape[1:])), 1)
        draws = key.integers("moves", (BLOCK, 5), 1 << 31, t // BLOCK * BLOCK)[:, t % BLOCK]
        for row in range(3):
            expected = literal(x[row].numpy(), before.delta[row].numpy(), draws[row], side, ball.eps)
            assert expected is None or np.abs((asked[0] - x)[row].numpy() - expected).max() < 1e-9, (t, row)
            better = float((asked[0][row] * 37).sin().sum()) >= float(before.margin[row])
            kept = asked[0][row] - x[row] if better else before.delta[row]
            assert float((state.delta[row] - kept).abs().max()) < 1e-12
            taken += better
    assert 0 < taken < 3 * 129
    assert channels == state.delta.shape[1]


def test_pitfall_22_the_window_shrinks_with_the_share_of_the_budget_spent():
    """p halves at 10, 50, 200 ... of 10,000, scaled to the attack's own number of queries."""
    for steps in (100, 5000, 10_000, 37_000):
        attack = Square(sp.Linf(0.1), n_queries=steps, p_init=0.8)
        for mark, halvings in ((0.0005, 0), (0.003, 1), (0.01, 2), (0.04, 3), (0.09, 4), (0.15, 5), (0.3, 6), (0.5, 7),
                               (0.7, 8), (0.9, 9)):  # fmt: skip
            t = math.floor(mark * steps)
            if t / steps * 10_000 > 10 or halvings == 0:
                assert attack._p(t) == 0.8 / 2**halvings, (steps, mark)


def test_pitfall_22_the_start_in_linf_is_vertical_stripes():
    case = testing.small_net(3)
    first = Square(sp.Linf(0.05), n_queries=5).init(
        sp.Scores(broker(case, sp.Linf(0.05))), Batch(case.images, Key(torch.arange(3), 0))
    ).delta  # fmt: skip
    inner = (case.images > 0.05) & (case.images < 0.95)
    signs = torch.where(inner, first, 0).sign()
    for row in range(3):
        for channel in range(3):
            for column in range(8):
                assert len(signs[row, channel, :, column][inner[row, channel, :, column]].unique()) == 1
    assert torch.allclose(first.abs()[inner], torch.tensor(0.05).double())
    assert not torch.equal(first[0], first[1])


def broker(case, ball):
    ledger = sp.access.Ledger(Region.around(case.images, ball), Keep.FIRST, sp.Budget())
    return sp.access.QueryBroker(case.target, case.goal, ledger, 100, False)


@pytest.mark.parametrize("ball", [sp.Linf(0.1), sp.L2(1.0)], ids=str)
def test_pitfall_22_windows_and_signs_are_drawn_row_by_row(ball):
    """Two rows with the same image go different ways."""
    case = testing.small_net(1)
    images = case.images.repeat(8, 1, 1, 1)
    outcome = sp.run(
        Square(ball, n_queries=20), case.target, sp.Misclassify(case.labels.repeat(8)), images, keep=Keep.HIGHEST_LOSS
    )
    assert len({tuple(e.flatten().tolist()) for e in outcome.examples}) == 8


@pytest.mark.parametrize("ball", [sp.Linf(0.2), sp.L2(1.0)], ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_images_of_odd_shapes(ball, shape):
    x = (0.5 + 0.3 * Key(torch.arange(4), 1).normal("x", shape, dtype=torch.float64)).clamp(0, 1)
    asked = []

    def model(images):
        asked.append(images.clone())
        total = images.flatten(1).mean(1)
        return torch.stack((total, 1e3 - total), dim=1)

    outcome = sp.run(
        Square(ball, n_queries=70), sp.Classifier(model), sp.Misclassify(torch.ones(4, dtype=torch.long)), x
    )  # fmt: skip
    assert (outcome.passes.forwards == 70).all()
    stack = torch.stack(asked[1:71])
    assert stack.isfinite().all()
    sizes = ball.norm((stack - x).flatten(0, 1))
    assert float(sizes.max()) <= ball.eps + 1e-9
    assert len({tuple(i.flatten().tolist()) for i in stack[:, 0]}) > 1


def test_queries_are_counted_one_a_step_and_stop_at_success():
    case = testing.small_net(6)
    outcome = sp.run(Square(sp.Linf(0.3), n_queries=400), case.target, case.goal, case.images)
    assert outcome.success.any()
    assert torch.equal(outcome.queries_to_success[outcome.success], outcome.passes.forwards[outcome.success])
    assert (outcome.passes.forwards[~outcome.success] == 400).all()
    assert not outcome.passes.backwards.any()


def test_more_queries_never_lose_ground():
    case = testing.small_net(12)
    shares = [
        sp.run(
            Square(sp.L2(1.2), n_queries=300), case.target, case.goal, case.images, budget=sp.Budget(forwards=n)
        ).success
        for n in (1, 50, 300)
    ]
    assert (shares[0] <= shares[1]).all()
    assert (shares[1] <= shares[2]).all()


def test_answers_that_are_rounded_are_climbed_by_changes_that_tie():
    """Each query flips one pixel or none; an answer takes three of them, which is climbed where ties are kept."""
    eps, plateau, won = 0.1, 6.0, 4

    def rounded(x):  # logits (0, r): r counts plateaus of the sum of all changes, in units of eps
        total = ((x - 0.5) / eps).flatten(1).sum(1)
        return torch.stack((torch.zeros_like(total), (total / plateau).round() - won + 0.5), dim=1)

    x = torch.full((8, 1, 8, 8), 0.5, dtype=torch.float64)
    attack = Square(sp.Linf(eps), n_queries=2000, p_init=1 / 64)
    outcome = sp.run(
        attack, sp.Restricted(sp.Classifier(rounded, identity="rounded"), "scores"), torch.zeros(8).long(), x
    )
    assert outcome.success.all()
    slow = outcome.queries_to_success > 1  # the stripes of the others had won
    assert int(slow.sum()) >= 3
