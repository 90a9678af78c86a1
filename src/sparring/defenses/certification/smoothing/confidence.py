"""The binomial test of a prediction, and how many certificates of a set are false."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def binomial_test(successes: NDArray[np.int64] | int, trials: NDArray[np.int64] | int) -> NDArray[np.float64]:
    """Return the two-sided p-value of `successes` of `trials` under the proportion 1/2; 1 without trials."""
    from scipy.stats import binom  # type: ignore[import-untyped]

    k, n = np.broadcast_arrays(np.asarray(successes, dtype=np.int64), np.asarray(trials, dtype=np.int64))
    value: NDArray[np.float64] = np.minimum(1.0, 2 * binom.sf(np.maximum(k, n - k) - 1, n, 0.5))
    return value


def most_false_certificates(count: int, alpha: float, error: float) -> int:
    """Return the least q such that more than q of `count` certificates are false with probability at most `error`.

    Each certificate is false with probability at most `alpha`, independently of the others, so that their number is
    at most a Binomial(count, alpha) one.
    """
    from scipy.stats import binom

    return int(binom.isf(error, count, alpha))
