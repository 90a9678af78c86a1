"""Confidence intervals of shares, and McNemar's test."""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict, Field

from ...errors import ConfigError

Z_95 = 1.959963984540054  # the normal distribution's 97.5 % point
Z_99 = 2.5758293035489004  # its 99.5 % point


class Part(BaseModel):
    """A frozen piece of a report; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Share(Part):
    """`count` of `total`, and the 95 % Wilson interval of the share."""

    count: int = Field(description="where answers are random, the expected number, rounded")
    total: int
    share: float
    low: float
    high: float


def wilson(count: float, total: int, z: float = Z_95) -> tuple[float, float]:
    """Return the interval of Wilson (1927, eq. 5) for a share of `count` in `total`.

    (p + z^2 / 2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)
    """
    if not 0 <= count <= total:
        raise ConfigError(f"{count} of {total} is no share; count must lie in 0..total")
    if total == 0:
        return 0.0, 1.0
    p, n = count / total, float(total)
    center = p + z * z / (2 * n)
    reach = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = (center - reach) / (1 + z * z / n), (center + reach) / (1 + z * z / n)
    return (0.0 if count == 0 else low), (1.0 if count == total else high)


def share(count: float, total: int) -> Share:
    """`count` of `total` with its 95 % interval; a share of nothing is 0 and anything between 0 and 1.

    `count` may be a sum of shares in [0, 1], one for each image. Their variance is then no larger than that of zeros
    and ones with the same mean (Bhatia & Davis 2000), so that the interval is not too narrow.
    """
    low, high = wilson(count, total)
    return Share(count=round(count), total=total, share=count / total if total else 0.0, low=low, high=high)


def images_for_width(width: float) -> int:
    """Return images after which no 95 % Wilson interval is wider than `width` (in [0, 1]), rounded up."""
    return math.ceil(Z_95**2 * (1 / width**2 - 1))


def mcnemar(better: int, worse: int) -> float:
    """Return the two-sided p value for `better` and `worse` being equally likely (McNemar 1947, exact).

    Of two models on the same images only those images speak that one of them loses and the other does not; if the
    models are equally robust, each is as likely to be the one. p = min(1, 2 P(X <= min(better, worse))), X binomial of
    better + worse trials at one half.
    """
    if min(better, worse) < 0:
        raise ConfigError(f"{better} and {worse} are no counts; pass numbers of images")
    total, ways, sum_of_ways = better + worse, 1, 0
    for k in range(min(better, worse) + 1):
        sum_of_ways += ways
        ways = ways * (total - k) // (k + 1)
    return min(1.0, 2 * sum_of_ways / (1 << total))
