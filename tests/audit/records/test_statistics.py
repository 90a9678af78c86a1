import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from sparring.audit.records.statistics import mcnemar, share
from sparring.errors import ConfigError
from sparring.intervals import images_for_width, wilson


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_scipys(pair):
    count, total = pair
    theirs = binomtest(count, total).proportion_ci(method="wilson")
    assert wilson(count, total) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_a_share_of_nothing_may_be_anything():
    empty = share(0, 0)
    assert (empty.low, empty.high) == (0.0, 1.0)


def test_more_than_all_is_refused():
    with pytest.raises(ConfigError, match="3 of 2 is no share"):
        wilson(3, 2)


@pytest.mark.parametrize("width", [0.02, 0.06, 0.2])
def test_sample_advice_keeps_its_promise(width):
    n = images_for_width(width)
    assert max(high - low for low, high in (wilson(k, n) for k in range(n + 1))) <= width + 1e-9
    low, high = wilson((n - 4) // 2, n - 4)
    assert high - low > width * (1 - 4 / n)


@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemar_is_scipys_exact_test(better, worse):
    theirs = binomtest(better, better + worse).pvalue if better + worse else 1.0
    assert mcnemar(better, worse) == pytest.approx(theirs, rel=1e-9)


def test_mcnemar_of_many_images_and_of_none():
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(0, 3000) == 0.0 or mcnemar(0, 3000) < 1e-300
    assert mcnemar(5, 5) == 1.0
    with pytest.raises(ConfigError, match="are no counts"):
        mcnemar(-1, 3)


def test_a_sum_of_shares_has_an_interval_around_it():
    random = share(7.25, 10)
    assert (random.count, random.share) == (7, 0.725)
    assert random.low < 0.725 < random.high
