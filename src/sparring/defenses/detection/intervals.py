"""95 % confidence intervals: Clopper-Pearson for a share, DeLong for the area under a ROC curve."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import InputError

CONFIDENCE = 0.95
Z = 1.959963984540054  # the normal distribution's 97.5 % point


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95 % interval."""

    value: float
    low: float
    high: float
    of: int  # images that it was measured on; in an area, those of the smaller side

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def clopper_pearson(count: int, total: int) -> Interval:
    """Return `count` / `total` with the interval of Clopper & Pearson (1934): Beta quantiles, never too narrow."""
    from scipy.stats import beta  # type: ignore[import-untyped]

    if not 0 <= count <= total:
        raise InputError(f"{count} of {total} is no share; count must lie in 0..total")
    if total == 0:
        return Interval(math.nan, 0.0, 1.0, 0)
    tail = (1 - CONFIDENCE) / 2
    low = float(beta.ppf(tail, count, total - count + 1)) if count else 0.0
    high = float(beta.ppf(1 - tail, count + 1, total - count)) if count < total else 1.0
    return Interval(count / total, low, high, total)


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
    low, high = (1 / (1 + math.exp(-(center + side * Z * deviation))) for side in (-1, 1))
    return Interval(area, low, high, few)


def _placements(of: Tensor, among: Tensor) -> Tensor:
    """(N,) float64: what share of `among` (M,) lies below each of `of` (N,), equals counted half."""
    ordered, points = among.double().sort().values.contiguous(), of.double().contiguous()
    below = torch.searchsorted(ordered, points, side="left")
    up_to = torch.searchsorted(ordered, points, side="right")
    return (below + up_to).double() / (2 * len(among))
