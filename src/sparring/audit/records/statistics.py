"""Shares with their intervals, and McNemar's test."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from ...errors import ConfigError
from ...intervals import wilson


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


def share(count: float, total: int) -> Share:
    """`count` of `total` with its 95 % interval; a share of nothing is 0 and anything between 0 and 1.

    `count` may be a sum of shares in [0, 1], one for each image. Their variance is then no larger than that of zeros
    and ones with the same mean (Bhatia & Davis 2000), so that the interval is not too narrow.
    """
    low, high = wilson(count, total)
    return Share(count=round(count), total=total, share=count / total if total else 0.0, low=low, high=high)


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
