"""Keyed randomness: what a row draws depends on its key and on nothing else."""

import math

import pytest
import torch

from sparring.random import Key

DRAWS = {
    "bits": lambda key, stream, step: key.bits(stream, (3, 5), step),
    "uniform": lambda key, stream, step: key.uniform(stream, (3, 5), step),
    "integers": lambda key, stream, step: key.integers(stream, (3, 5), 1000, step),
    "signs": lambda key, stream, step: key.signs(stream, (200,), step),
    "normal": lambda key, stream, step: key.normal(stream, (3, 5), step),
}
MANY = 200_000
GOLDEN_BITS = [[1237882649540777957, 2502630242018820153], [-4439880612354625949, 5829312980730875146]]
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@pytest.fixture(params=DRAWS.values(), ids=DRAWS.keys())
def draw(request):
    return request.param


def key(*indices, seed=0):
    return Key(torch.tensor(indices), seed)


def test_a_row_draws_the_same_whatever_its_batch(draw):
    whole = draw(key(*range(50), seed=3), "stream", 7)
    for rows in ([4], [49, 4, 0], list(range(20, 50))):
        assert torch.equal(draw(key(*rows, seed=3), "stream", 7), whole[rows])


def test_a_batch_larger_than_the_mixing_block_draws_the_same():
    wide = Key(torch.arange(40), 1).uniform("x", (5000,))
    assert torch.equal(Key(torch.tensor([17]), 1).uniform("x", (5000,))[0], wide[17])


def test_a_longer_draw_begins_with_the_shorter_one():
    assert torch.equal(key(5).uniform("x", (100,))[:, :10], key(5).uniform("x", (10,)))


def test_another_id_lane_step_or_seed_is_another_draw(draw):
    here = draw(key(1), "stream", 0)
    others = {
        "id": draw(key(2), "stream", 0),
        "stream": draw(key(1), "other", 0),
        "step": draw(key(1), "stream", 1),
        "seed": draw(key(1, seed=1), "stream", 0),
        "round": draw(key(1).reseeded(0), "stream", 0),
    }
    for name, other in others.items():
        assert not torch.equal(here, other), name


def test_steps_may_differ_row_by_row(draw):
    mixed = draw(key(3, 3, 4), "stream", torch.tensor([0, 9, 2]))
    for row, (identity, step) in enumerate([(3, 0), (3, 9), (4, 2)]):
        assert torch.equal(mixed[row], draw(key(identity), "stream", step)[0])


def correlation(a, b):
    return float(torch.corrcoef(torch.stack((a.flatten(), b.flatten())))[0, 1])


def test_ids_steps_lanes_seeds_and_neighbours_are_uncorrelated():
    bound = 5 / math.sqrt(MANY)
    base = Key(torch.arange(1000), 0).uniform("x", (200,), dtype=torch.float64)
    rows = Key(torch.arange(1, 1001), 0).uniform("x", (200,), dtype=torch.float64)
    assert torch.equal(rows[:-1], base[1:])  # the same indices, moved by one
    pairs = {
        "ids": Key(torch.arange(1000, 2000), 0).uniform("x", (200,), dtype=torch.float64),
        "step": Key(torch.arange(1000), 0).uniform("x", (200,), 1, torch.float64),
        "stream": Key(torch.arange(1000), 0).uniform("y", (200,), dtype=torch.float64),
        "seed": Key(torch.arange(1000), 1).uniform("x", (200,), dtype=torch.float64),
        "neighbours": base.roll(1, 1),
        "rows": base.roll(1, 0),
    }
    for name, other in pairs.items():
        assert abs(correlation(base, other)) < bound, name


@pytest.mark.parametrize("dtype", DTYPES)
def test_uniform_has_its_moments_and_never_reaches_one(dtype):
    u = key(8).uniform("x", (MANY,), dtype=dtype)
    assert u.dtype == dtype
    assert u.min() >= 0
    assert u.max() < 1
    wide = u.double()
    assert abs(float(wide.mean()) - 0.5) < 5e-3
    assert abs(float(wide.var()) - 1 / 12) < 2e-3
    counts = torch.histc(wide, 16, 0, 1)
    assert float(((counts - MANY / 16) ** 2 / (MANY / 16)).sum()) < 60  # chi-squared with 15 degrees


def test_the_largest_float32_uniform_is_below_one():
    drawn = Key(torch.arange(4000), 5).uniform("x", (1000,))
    assert torch.equal(drawn * 2**24, (drawn * 2**24).round())  # 24 bits: exactly what float32 holds
    assert 0.9999 < drawn.max() < 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_normal_has_its_moments(dtype):
    z = key(9).normal("x", (MANY,), dtype=dtype)
    assert z.dtype == dtype
    assert z.isfinite().all()
    wide = z.double()
    assert abs(float(wide.mean())) < 1e-2
    assert abs(float(wide.var()) - 1) < 2e-2
    assert abs(float((wide**4).mean()) - 3) < 0.15
    assert abs(float((wide.abs() < 1).double().mean()) - 0.6827) < 5e-3
    assert abs(correlation(wide[0, 0::2], wide[0, 1::2])) < 2e-2  # the two values of one word


def test_normal_of_an_odd_count_has_its_shape():
    assert key(1, 2).normal("x", (3, 1, 5)).shape == (2, 3, 1, 5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_signs_are_fair_and_independent_of_their_place(dtype):
    s = Key(torch.arange(1000), 0).signs("x", (130,), dtype=dtype)
    assert s.dtype == dtype
    assert set(s.unique().tolist()) == {-1.0, 1.0}
    assert float(s.double().mean(0).abs().max()) < 5 / math.sqrt(1000)
    both = s.double().T @ s.double() / 1000 - torch.eye(130, dtype=torch.double)
    assert float(both.abs().max()) < 6 / math.sqrt(1000)


def test_integers_cover_their_range_and_no_more():
    n = key(4).integers("x", (70_000,), 7)
    assert n.dtype == torch.int64
    counts = torch.bincount(n.flatten(), minlength=7)
    assert len(counts) == 7
    assert float(((counts - 10_000.0) ** 2 / 10_000).sum()) < 30
    assert int(key(4).integers("x", (1000,), 1).max()) == 0
    high = torch.tensor([[2], [1000]])
    bounded = key(4, 5).integers("x", (500,), high)
    assert int(bounded[0].max()) == 1
    assert int(bounded[1].max()) > 900


def test_rounds_and_seeds_do_not_meet():
    """Round r of one seed must not be another seed, or restarts over several seeds would repeat each other."""
    seen = dict.fromkeys(range(200), "seed")
    for seed in range(20):
        for round in range(50):
            fresh = key(0, seed=seed).reseeded(round).seed
            assert fresh not in seen, (seed, round, seen.get(fresh))
            seen[fresh] = f"round {round} of {seed}"


def test_any_python_integer_is_a_seed():
    """Seeds beyond 32 bits, and restarts within restarts, wrapped around instead of overflowing."""
    for seed in (2**40, 2**62, -1, 10**30):
        assert key(1, seed=seed).uniform("x", (4,)).isfinite().all()
    nested = key(1, seed=2**31)
    for round in range(10):
        nested = nested.reseeded(round)
    assert nested.uniform("x", (4,)).isfinite().all()


def test_no_global_generator_is_read_or_moved():
    torch.manual_seed(0)
    before, first = torch.get_rng_state(), [draw(key(1, 2), "stream", 3) for draw in DRAWS.values()]
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    for draw, expected in zip(DRAWS.values(), first, strict=True):
        assert torch.equal(draw(key(1, 2), "stream", 3), expected)


def test_the_draws_of_today_are_the_draws_of_tomorrow():
    """Recorded runs are repeated from their seeds, so these must never change."""
    assert key(0, 7).bits("golden", (2,)).tolist() == GOLDEN_BITS
