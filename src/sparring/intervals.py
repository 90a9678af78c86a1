"""Confidence intervals: Wilson and Clopper-Pearson for a share, DeLong for the area under a ROC curve.

Reports of robust accuracy have Wilson's, which is narrower, and right in the mean over all shares. Detectors have
Clopper-Pearson's: of false alarms there are few, and an interval that is too narrow there would promise too much.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .errors import ConfigError, InputError

CONFIDENCE = 0.95
Z_95 = 1.959963984540054  # the normal distribution's 97.5 % point
Z_99 = 2.5758293035489004  # its 99.5 % point


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95 % interval."""

    value: float
    low: float
    high: float
    of: int  # images that it was measured on; in an area, those of the smaller side

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def check_share(count: float, total: int) -> None:
    """Raise ConfigError unless `count` of `total` is a share."""
    if not 0 <= count <= total:
        raise ConfigError(f"{count} of {total} is no share; count must lie in 0..total")


def wilson(count: float, total: int, z: float = Z_95) -> tuple[float, float]:
    """Return the interval of Wilson (1927, eq. 5) for a share of `count` in `total`.

    (p + z^2 / 2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)
    """
    check_share(count, total)
    if total == 0:
        return 0.0, 1.0
    p, n = count / total, float(total)
    center = p + z * z / (2 * n)
    reach = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = (center - reach) / (1 + z * z / n), (center + reach) / (1 + z * z / n)
    return (0.0 if count == 0 else low), (1.0 if count == total else high)


def images_for_width(width: float) -> int:
    """Return images after which no 95 % Wilson interval is wider than `width` (in [0, 1]), rounded up."""
    return math.ceil(Z_95**2 * (1 / width**2 - 1))


def clopper_pearson_lower(count: NDArray[np.int64] | int, total: int, alpha: float) -> NDArray[np.float64]:
    """Return the lower bound of each share that is above the true one with probability at most `alpha`; 0 for count 0.

    It is the p at which `count` or more of `total` have probability alpha (Clopper & Pearson 1934, one-sided): the
    alpha-quantile of Beta(count, total - count + 1).
    """
    from scipy.stats import beta  # type: ignore[import-untyped]

    k = np.asarray(count, dtype=np.float64)
    bound: NDArray[np.float64] = np.where(k > 0, beta.ppf(alpha, np.maximum(k, 1), total - k + 1), 0.0)
    return bound


def clopper_pearson_upper(count: NDArray[np.int64] | int, total: int, alpha: float) -> NDArray[np.float64]:
    """Return the upper bound of each share that is below the true one with probability at most `alpha`; 1 for all."""
    from scipy.stats import beta

    k = np.asarray(count, dtype=np.float64)
    bound: NDArray[np.float64] = np.where(k < total, beta.isf(alpha, k + 1, np.maximum(total - k, 1)), 1.0)
    return bound


def clopper_pearson(count: int, total: int) -> Interval:
    """Return `count` / `total` with the interval of Clopper & Pearson (1934): Beta quantiles, never too narrow."""
    check_share(count, total)
    if total == 0:
        return Interval(math.nan, 0.0, 1.0, 0)
    tail = (1 - CONFIDENCE) / 2
    low, high = clopper_pearson_lower(count, total, tail), clopper_pearson_upper(count, total, tail)
    return Interval(count / total, float(low), float(high), total)


def auroc(clean: Tensor, adversarial: Tensor) -> Interval:
    """Return the area under the ROC curve from scores (n,) and (m,), ties counted half, with its 95 % interval.

    The interval is that of DeLong et al. (1988) on the logit of the area. Where one side lies wholly above the other
    its variance is zero; then each of min(n, m) disjoint pairs is a trial that came out one way, and the interval is
    Clopper-Pearson's.
    """
    n, m = len(clean), len(adversarial)
    if not n or not m:
        return Interval(math.nan, 0.0, 1.0, 0)
    if not bool(torch.cat((clean, adversarial)).isfinite().all()):
        raise InputError("a score is not finite, so that no ROC curve can be drawn; look at the detector's model")
    above_clean = _placements(adversarial, clean)  # (m,) share of the clean ones below each adversarial one
    below = 1 - _placements(clean, adversarial)  # (n,) share of the adversarial ones above each clean one
    area = float(above_clean.mean())
    few = min(n, m)
    if few < 2 or area in (0.0, 1.0):
        ends = clopper_pearson(round(area * few), few)
        return Interval(area, ends.low, ends.high, few)
    deviation = math.sqrt(float(above_clean.var()) / m + float(below.var()) / n) / (area * (1 - area))
    center = math.log(area / (1 - area))
    low, high = (1 / (1 + math.exp(-(center + side * Z_95 * deviation))) for side in (-1, 1))
    return Interval(area, low, high, few)


def _placements(of: Tensor, among: Tensor) -> Tensor:
    """(N,) float64: what share of `among` (M,) lies below each of `of` (N,), equals counted half."""
    ordered, points = among.double().sort().values.contiguous(), of.double().contiguous()
    below = torch.searchsorted(ordered, points, side="left")
    up_to = torch.searchsorted(ordered, points, side="right")
    return (below + up_to).double() / (2 * len(among))


RESAMPLES = 2000


def cluster_bootstrap(
    part: NDArray[np.float64], whole: NDArray[np.float64], clusters: NDArray[np.int64], seed: int = 0
) -> Interval:
    """Return sum(part) / sum(whole), with its 95 % interval by resampling clusters (Davison & Hinkley 1997).

    Args:
        part, whole: (n,) what counts and what it is counted of, as 0 and 1, or counts of several draws.
        clusters: (n,) the cluster of each: a scene, a person. Rows of one cluster are drawn together, since they are no
            independent trials. `Interval.of` is the number of clusters in which there is anything to count.
        seed: of the 2,000 resamples.

    A bootstrap of trials that all came out one way has no width; the interval is then that of Clopper-Pearson with a
    trial per cluster. Where there is nothing to count the value is NaN, and the interval 0 to 1.

    Raises: ConfigError where the shapes differ or a part exceeds its whole.
    """
    if not (part.shape == whole.shape == clusters.shape and part.ndim == 1):
        shapes = ", ".join(str(one.shape) for one in (part, whole, clusters))
        raise ConfigError(f"a bootstrap takes three arrays (n,) of one length; got {shapes}")
    if not bool(((part >= 0) & (part <= whole)).all()):
        raise ConfigError("a part is below 0, NaN or larger than its whole, so that there is no share")
    _, place = np.unique(clusters, return_inverse=True)
    parts, wholes = np.bincount(place, part), np.bincount(place, whole)
    counted = wholes > 0
    parts, wholes, count = parts[counted], wholes[counted], int(counted.sum())
    if count == 0:
        return Interval(math.nan, 0.0, 1.0, 0)
    value = float(parts.sum() / wholes.sum())
    shares = parts / wholes
    if count == 1 or bool((shares == shares[0]).all() and shares[0] in (0.0, 1.0)):
        ends = clopper_pearson(round(value * count), count)
        return Interval(value, min(value, ends.low), max(value, ends.high), count)
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), RESAMPLES)
    resampled = (drawn @ parts) / (drawn @ wholes)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(resampled, (tail, 1 - tail))
    return Interval(value, float(low), float(high), count)
