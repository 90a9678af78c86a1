"""Exact confidence bounds of binomial proportions, in float64 and for whole arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats  # type: ignore[import-untyped]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def clopper_pearson_lower(successes: Any, trials: Any, alpha: float) -> Floats:
    """Return the lower bound that is above the true proportion with probability at most `alpha`.

    It is the p at which `successes` or more of `trials` have probability alpha (Clopper & Pearson 1934, one-sided):
    the alpha-quantile of Beta(k, n - k + 1), and 0 for k = 0.
    """
    k, n = np.broadcast_arrays(np.asarray(successes, dtype=np.float64), np.asarray(trials, dtype=np.float64))
    bound: Floats = np.where(k > 0, stats.beta.ppf(alpha, np.maximum(k, 1), n - k + 1), 0.0)
    return bound


def clopper_pearson_upper(successes: Any, trials: Any, alpha: float) -> Floats:
    """Return the upper bound that is below the true proportion with probability at most `alpha`; 1 for k = n."""
    k, n = np.broadcast_arrays(np.asarray(successes, dtype=np.float64), np.asarray(trials, dtype=np.float64))
    bound: Floats = np.where(k < n, stats.beta.isf(alpha, k + 1, np.maximum(n - k, 1)), 1.0)
    return bound


def binomial_test(successes: Any, trials: Any) -> Floats:
    """Return the two-sided p-value of `successes` of `trials` under the proportion 1/2; 1 without trials."""
    k, n = np.broadcast_arrays(np.asarray(successes, dtype=np.int64), np.asarray(trials, dtype=np.int64))
    value: Floats = np.minimum(1.0, 2 * stats.binom.sf(np.maximum(k, n - k) - 1, n, 0.5))
    return value


def most_false_certificates(count: int, alpha: float, error: float) -> int:
    """Return the least q such that more than q of `count` certificates are false with probability at most `error`.

    Each certificate is false with probability at most `alpha`, independently of the others, so that their number is
    at most a Binomial(count, alpha) one.
    """
    return int(stats.binom.isf(error, count, alpha))
