import numpy as np
import pytest
import torch
from scipy.stats import binom, binomtest
from sklearn.metrics import roc_auc_score

from sparring.errors import ConfigError, InputError
from sparring.intervals import (
    auroc,
    clopper_pearson,
    clopper_pearson_lower,
    clopper_pearson_upper,
    cluster_bootstrap,
)
from sparring.random import Key


def normal(count, seed):
    return Key(torch.arange(count), seed).normal("scores", (), dtype=torch.float64)


@pytest.mark.parametrize("rounded", [False, True], ids=["no ties", "ties"])
def test_auroc_is_scikit_learns(rounded):
    clean, adversarial = normal(70, 0), normal(40, 1) + 0.8
    if rounded:
        clean, adversarial = clean.round(), adversarial.round()
    theirs = roc_auc_score([0] * 70 + [1] * 40, torch.cat((clean, adversarial)).numpy())
    assert auroc(clean, adversarial).value == pytest.approx(theirs, abs=1e-12)


def test_the_interval_covers_the_true_area_as_often_as_it_says():
    """N(0, 1) against N(1, 1): the area is Phi(1 / sqrt 2) = 0.7602."""
    covered = 0
    for seed in range(400):
        found = auroc(normal(60, seed), normal(50, 1000 + seed) + 1)
        covered += found.low <= 0.76025 <= found.high
    assert 0.92 < covered / 400 < 0.98


def test_delong_by_its_definition():
    clean, adversarial = normal(12, 0), normal(9, 1) + 0.3
    found = auroc(clean, adversarial)
    psi = (adversarial[:, None] > clean).double().numpy()
    deviation = np.sqrt(psi.mean(1).var(ddof=1) / 9 + psi.mean(0).var(ddof=1) / 12)
    area = psi.mean()
    ends = np.log(area / (1 - area)) + np.array([-1, 1]) * 1.959963984540054 * deviation / (area * (1 - area))
    assert (found.low, found.high) == pytest.approx(tuple(1 / (1 + np.exp(-ends))), abs=1e-9)


def test_perfect_separation_is_not_certainty():
    found = auroc(torch.arange(20.0), torch.arange(50.0) + 100)
    theirs = binomtest(20, 20).proportion_ci(method="exact")
    assert found.value == 1.0
    assert (found.low, found.high) == pytest.approx((theirs.low, 1.0))
    assert found.of == 20


@pytest.mark.parametrize(("count", "total"), [(0, 10), (3, 10), (10, 10)])
def test_shares_have_the_exact_interval(count, total):
    theirs = binomtest(count, total).proportion_ci(method="exact")
    found = clopper_pearson(count, total)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_a_share_of_nothing_could_be_any():
    found = clopper_pearson(0, 0)
    assert np.isnan(found.value)
    assert (found.low, found.high) == (0.0, 1.0)
    assert np.isnan(auroc(torch.empty(0), torch.ones(3)).value)
    with pytest.raises(ConfigError, match="7 of 5 is no share"):
        clopper_pearson(7, 5)


def test_scores_that_are_not_finite_are_refused():
    with pytest.raises(InputError, match="a score is not finite"):
        auroc(torch.tensor([1.0, float("nan")]), torch.ones(2))


@pytest.mark.parametrize("alpha", [0.05, 1e-3, 1e-9])
@pytest.mark.parametrize(("k", "n"), [(1, 1), (1, 10), (9, 10), (10, 10), (99, 100), (99_000, 100_000), (1, 100_000)])
def test_lower_bound_is_where_the_binomial_tail_is_alpha(k: int, n: int, alpha: float) -> None:
    bound = float(clopper_pearson_lower(k, n, alpha))
    assert binom.sf(k - 1, n, bound) == pytest.approx(alpha, rel=1e-6)
    upper = float(clopper_pearson_upper(n - k, n, alpha))
    assert upper == pytest.approx(1 - bound, rel=1e-9)
    assert binom.cdf(n - k, n, upper) == pytest.approx(alpha, rel=1e-6)


def test_bounds_agree_with_scipys_exact_interval() -> None:
    for k, n in ((0, 7), (3, 7), (7, 7), (480, 1000)):
        theirs = binomtest(k, n).proportion_ci(0.98, "exact")
        assert float(clopper_pearson_lower(k, n, 0.01)) == pytest.approx(theirs.low, abs=1e-12)
        assert float(clopper_pearson_upper(k, n, 0.01)) == pytest.approx(theirs.high, abs=1e-12)


def test_bounds_agree_with_statsmodels() -> None:
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    low, high = proportion.proportion_confint(95, 100, alpha=0.02, method="beta")
    assert float(clopper_pearson_lower(95, 100, 0.01)) == pytest.approx(low, abs=1e-12)
    assert float(clopper_pearson_upper(95, 100, 0.01)) == pytest.approx(high, abs=1e-12)


def test_the_bootstrap_of_clusters_covers_the_truth_as_often_as_it_says():
    """40 clusters of 5 trials, each with a share of its own around 0.5."""
    draws = np.random.default_rng(0)
    covered = 0
    for seed in range(300):
        shares = draws.uniform(0.1, 0.9, 40)
        part = (draws.random((40, 5)) < shares[:, None]).astype(float)
        found = cluster_bootstrap(part.ravel(), np.ones(200), np.repeat(np.arange(40), 5), seed)
        covered += found.low <= 0.5 <= found.high
    assert found.of == 40
    assert 0.90 < covered / 300 < 0.98
    with pytest.raises(ConfigError, match="larger than its whole"):
        cluster_bootstrap(np.ones(2), np.zeros(2), np.arange(2))
