"""ZOO and SimBA: the laws, their paper's invariants against literal loops, and ART beside them."""

import math

import numpy as np
import pytest
import torch
from scipy.fft import idctn

import sparring as sp
from sparring import testing
from sparring.access import Batch
from sparring.attacks.cosine_transform import cosine_basis
from sparring.attacks.score.simba import SimBA
from sparring.attacks.score.zoo import ZOO
from sparring.errors import ConfigError, ThreatError
from sparring.geometry.region import Region
from sparring.random import Key


def test_laws_of_zoo_on_a_grid():
    testing.check_attack(ZOO(steps=4, nb_parallel=24, grid_size=3, ball=sp.L2(0.5)), tolerance=1e-6, ratio=None)


class Listening:
    """Answers with a function of the image on the images of a batch, and notes what it was asked."""

    def __init__(self, function, given):
        self.function, self.asked = function, []
        self.region, self.key = Region.around(given.x, sp.L2()), given.key

    def score(self, images, rows=None):
        self.asked.append(images.clone())
        value = self.function(images)
        return sp.goals.Verdict(value, value)


def batch(shape, count=2):
    x = (0.5 + 0.1 * Key(torch.arange(count), 5).normal("x", shape, dtype=torch.float64)).clamp(0.2, 0.8)
    return Batch(x, Key(torch.arange(count), 0))


def test_pitfall_28_zoo_keeps_adam_per_coordinate():
    """Moments, and the count that corrects their bias, belong to the coordinate: a literal loop in numpy."""
    weights = Key(torch.zeros(1, dtype=torch.long), 3).normal("w", (2 * 3 * 3,), dtype=torch.float64)[0]
    attack, given = ZOO(steps=9, nb_parallel=5, learning_rate=0.01), batch((2, 3, 3))
    oracle = Listening(
        lambda images: -50 + (images.flatten(1) * weights).sum(1) + images.flatten(1).square().sum(1), given
    )
    state, moved = attack.init(oracle, given), np.zeros((2, 18), int)
    mean, square, delta = (np.zeros((2, 18)) for _ in range(3))
    for t in range(9):
        before = state
        oracle.asked.clear()
        state = attack.step(oracle, state, t)
        base, probes = oracle.asked
        step = (probes.view(2, 5, 18) - base.view(2, 1, 18)).numpy()
        gains = (oracle.function(probes).view(2, 5) - oracle.function(base)[:, None]).numpy()
        c = (before.const if t else state.const / 1.5).numpy()
        for row in range(2):
            for number in range(5):
                (place,) = np.flatnonzero(np.abs(step[row, number]) > 1e-12)
                slope = gains[row, number] / step[row, number, place]
                grad = 2 * delta[row, place] - c[row] * slope
                mean[row, place] = 0.9 * mean[row, place] + 0.1 * grad
                square[row, place] = 0.999 * square[row, place] + 0.001 * grad**2
                moved[row, place] += 1
                n = moved[row, place]
                root = math.sqrt(square[row, place] / (1 - 0.999**n)) + float(state.epsilon[row])
                delta[row, place] -= 0.01 * mean[row, place] / (1 - 0.9**n) / root
        assert np.array_equal(state.count.flatten(1).numpy(), moved)
        assert np.abs(state.delta.flatten(1).numpy() - delta).max() < 1e-9, t
    assert moved.min() >= 2, "every coordinate had its turn"
    assert len(set(moved.flatten().tolist())) > 1, "and they are not all as old"


def test_zoo_asks_one_query_a_coordinate_and_one_where_it_is_across():
    given = batch((1, 6, 6))
    lost = Listening(lambda images: images.flatten(1).sum(1) - 1e3, given)
    attack = ZOO(steps=3, nb_parallel=10)
    state = attack.step(lost, attack.init(lost, given), 0)
    assert [len(asked) for asked in lost.asked] == [2, 20]
    won = Listening(lambda images: images.flatten(1).sum(1) + 1e3, given)
    after = attack.step(won, state, 1)
    assert [len(asked) for asked in won.asked] == [2]
    shrunk = after.delta.norm() / state.delta.norm()
    assert 0.9 < float(shrunk) < 1
    assert torch.equal(after.adam.mean, state.adam.mean)


def test_zoo_moves_whole_cells_of_large_images_and_probes_within_the_range():
    case, asked = testing.small_net(3), []

    def watching(images):
        asked.append(images.clone())
        return case.module(images)

    black = torch.zeros_like(case.images[:1])
    images = torch.cat((black, torch.ones_like(black), 0.45 + 0.1 * case.images[:1]))
    with torch.no_grad():
        labels = case.module(images).argmax(1)
    outcome = sp.run(ZOO(steps=6, nb_parallel=8, grid_size=4), sp.Classifier(watching), sp.Misclassify(labels), images)
    everything = torch.cat(asked)
    assert float(everything.min()) >= 0
    assert float(everything.max()) <= 1
    cells = (outcome.examples - images)[2].view(3, 4, 2, 4, 2).permute(0, 1, 3, 2, 4).flatten(3)
    assert float((cells.amax(3) - cells.amin(3)).max()) < 1e-9
    one_row = [a for a in asked if len(a) > 3]
    assert all(float(a.std(0).max()) > 0 for a in one_row), "at the edges of the range every probe moves"


def test_more_queries_bring_zoo_nearer_and_it_serves_targets():
    case = testing.small_net(8)
    sizes = [
        sp.run(ZOO(steps=999), case.target, case.goal, case.images, budget=sp.Budget(forwards=n)).distance
        for n in (1000, 8000)
    ]
    reference = sp.run(sp.attacks.CarliniWagner(steps=200), case.target, case.goal, case.images).distance
    assert (sizes[1] <= sizes[0]).all()
    assert float((sizes[1] / reference).median()) < 1.1
    targets = sp.ClassifyAs((case.labels + 1) % 4)
    outcome = sp.run(ZOO(steps=40), case.target, targets, case.images)
    assert outcome.success.float().mean() > 0.5
    won = case.module(outcome.examples[outcome.success]).argmax(1)
    assert torch.equal(won, targets.classes[outcome.success])


def test_cosines_are_the_orthonormal_transform():
    for size in (1, 2, 7, 28):
        assert np.allclose(cosine_basis(size, size, torch.float64, torch.device("cpu")).numpy(), idctn(
            np.eye(size), axes=[1], norm="ortho"), atol=1e-12)  # fmt: skip


@pytest.mark.parametrize("pixels", [False, True])
def test_simba_asks_along_one_direction_of_the_basis_at_a_time(pixels):
    """Every question differs from the last by +-step along a few basis vectors, and none comes twice."""
    given, attack = batch((2, 6, 4), 1), SimBA(steps=200, step_size=0.01, pixels=pixels)
    oracle = Listening(lambda images: (images.flatten(1) * torch.linspace(-1, 1, 48)).sum(1), given)
    state, order = attack.init(oracle, given), []
    while int(state.tried) < 48:
        if not state.confirming:
            order.append(int(state.order[0, int(state.tried)]))
        state = attack.step(oracle, state, len(order))
    assert sorted(order) == list(range(48))
    assert float(state.delta.norm()) <= 0.01 * math.sqrt(48) + 1e-9
    moves = (torch.cat(oracle.asked[1:]) - torch.cat(oracle.asked[:-1])).numpy()
    for number, move in enumerate(moves):
        waves = move if pixels else _cosine_transform(move)
        sizes = np.abs(waves[np.abs(waves) > 1e-9])
        assert 1 <= len(sizes) <= 3
        assert np.isclose(sizes, 0.01).sum() + np.isclose(sizes, 0.02).sum() == len(sizes), number


def _cosine_transform(images):
    from scipy.fft import dctn

    return dctn(images, axes=[1, 2], norm="ortho")


def test_simba_takes_the_right_side_of_every_direction_of_a_linear_net():
    """Little more than a query a direction, and at the end every one of them has gained."""
    slope = Key(torch.zeros(1, dtype=torch.long), 1).normal("slope", (3, 4, 4), dtype=torch.float64)[0]
    given = batch((3, 4, 4), 1)
    oracle = Listening(lambda images: (images * slope).flatten(1).sum(1), given)
    attack = SimBA(steps=100, step_size=0.01, pixels=True)
    state = attack.init(oracle, given)
    while int(state.tried) < 48:
        state = attack.step(oracle, state, 0)
    best = 0.01 * slope.abs().sum()
    assert torch.allclose(state.candidate, (0.01 * slope.sign()).expand_as(state.candidate))
    assert torch.allclose(state.predicted - oracle.function(given.x), best)
    assert len(oracle.asked) < 1.3 * 48, "the paper asks 1.5 a direction"


def test_simba_begins_with_the_lowest_frequencies():
    attack, given = SimBA(freq_dims=1 / 8, stride=1 / 32), batch((3, 32, 64))
    order = attack.init(Listening(lambda images: images.flatten(1).sum(1), given), given).order
    down, right = order // 64 % 32, order % 64
    block = torch.maximum((down - 3).clamp(min=0), ((right - 8) // 2 + 1).clamp(min=0))
    assert (block.diff(dim=1) >= 0).all()
    assert (block[:, : 3 * 4 * 8] == 0).all()
    assert not torch.equal(order[0], order[1])


def test_simba_does_not_ask_about_a_pixel_without_room():
    """From black, the first question about each pixel brightens it, and no other follows."""
    asked = []

    def model(images):
        asked.append(images.clone())
        total = images.flatten(1).sum(1)
        return torch.stack((total * 0 + 5, -total), dim=1)  # every move up loses

    x = torch.zeros(1, 1, 4, 4)
    outcome = sp.run(
        SimBA(steps=500, pixels=True), sp.Classifier(model), sp.Misclassify(torch.zeros(1, dtype=torch.long)), x
    )
    assert not outcome.success.any()
    assert int(outcome.passes.forwards) == 1 + 16, "and after one idle round the row is done"
    assert all(int((image > 0).sum()) == 1 for image in asked[2:])


def test_bad_parameters_are_named():
    for wrong, message in (
        (lambda: ZOO(ball=sp.Linf(0.1)), r"ZOO knows L2, not Linf\(0.1\)"),
        (lambda: SimBA(sp.L1(3)), r"SimBA knows L2 and Linf, not L1\(3\)"),
    ):
        with pytest.raises(ThreatError, match=message):
            wrong()
    for wrong, message in (
        (lambda: ZOO(nb_parallel=0), "ZOO nb_parallel=0; pass an integer >= 1"),
        (lambda: ZOO(variable_h=0.7), "ZOO variable_h=0.7; pass a finite number > 0 and < 0.5"),
        (lambda: ZOO(learning_rate=-1.0), "ZOO learning_rate=-1.0"),
        (lambda: ZOO(confidence=math.nan), "confidence=nan"),
        (lambda: SimBA(steps=0), "SimBA steps=0; pass an integer >= 1"),
        (lambda: SimBA(step_size=math.nan), "step_size=nan"),
        (lambda: SimBA(freq_dims=0.0), "SimBA freq_dims=0.0; pass a finite number > 0 and <= 1"),
    ):
        with pytest.raises(ConfigError, match=message):
            wrong()
