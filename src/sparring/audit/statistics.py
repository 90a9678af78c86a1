"""How sure a share of a few hundred images is."""

from __future__ import annotations

import math

from ..errors import ConfigError
from .report_model import Share

Z_95 = 1.959963984540054  # the normal distribution's 97.5 % point


def wilson(count: int, total: int, z: float = Z_95) -> tuple[float, float]:
    """The interval of Wilson (1927, eq. 5) for a share of `count` in `total`.

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


def share(count: int, total: int) -> Share:
    """`count` of `total` with its 95 % interval; a share of nothing is 0 and anything between 0 and 1."""
    low, high = wilson(count, total)
    return Share(count=count, total=total, share=count / total if total else 0.0, low=low, high=high)


def samples_for(width: float) -> int:
    """Images after which no 95 % Wilson interval is wider than `width` (in [0, 1]), rounded up."""
    return math.ceil(Z_95**2 * (1 / width**2 - 1))
