"""`SmoothingCertificates` and `SmoothingPredictions`: what smoothing says of each image, and of a whole test set.

Let g(x) be the class that f(x + noise) takes most often. With p_A a lower bound of the probability of g(x), and p_B an
upper bound of that of every other class, g does not change within (Cohen et al. 2019, arXiv:1902.02918, theorem 1)

    R = sigma / 2 ( Phi^-1(p_A) - Phi^-1(p_B) )          in L2, around x

"two-class" takes p_B = 1 - p_A, with one bound at alpha. "all-class" bounds every class of K at alpha / K (Bonferroni),
so that all bounds hold at once with probability 1 - alpha; it is the larger radius where p_A is not near 1 and the
other classes share the rest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ....errors import ConfigError
from ....intervals import clopper_pearson_lower, clopper_pearson_upper
from ....scalars import plain_number
from ..labels import as_labels

ABSTAIN = -1
BOUNDS = ("two-class", "all-class")


@dataclass(frozen=True)
class SmoothingPredictions:
    """The smoothed classifier's answers: a class that is not g(x) is returned with probability at most `alpha`.

    Args:
        predicted: (N,) int64, a class or `ABSTAIN`.
        p_value: (N,) float64, of the two-sided test that the two most frequent classes are equally likely.
        counts: (N, K) int64, how often each class was answered.
        alpha: the greatest p-value at which a class is returned.
    """

    predicted: Tensor
    p_value: Tensor
    counts: Tensor
    alpha: float


@dataclass(frozen=True)
class SmoothingCertificates:
    """A class, and the L2 radius within which it cannot change, for each of N images.

    Each certificate (that g(x) is this class, everywhere within the radius) is false with probability at most `alpha`,
    over the noise that was drawn. For a claim about all of them together, see `joint`.

    Args:
        selected: (N,) int64, the most frequent class of the first n0 draws.
        counts: (N, K) int64, how often each class was answered in the n draws that followed.
        n: those draws; where an answer is NaN, it counts for no class.
        sigma: standard deviation of the noise, in units of [0, 1].
        dimension: the number of components of an image, C H W.
        alpha: the probability of error of each certificate.
        bound: "two-class" or "all-class".
    """

    selected: Tensor
    counts: Tensor
    n: int
    sigma: float
    dimension: int
    alpha: float
    bound: str = "two-class"

    def __post_init__(self) -> None:
        check_certificates(self.n, self.alpha, self.bound, self.counts.shape[1])

    def __len__(self) -> int:
        return len(self.selected)

    @property
    def p_lower(self) -> Tensor:
        """(N,) float64: the lower bound of the selected class's probability."""
        own = self.counts.gather(1, self.selected[:, None].clamp_min(0)).squeeze(1) * (self.selected >= 0)
        return torch.from_numpy(clopper_pearson_lower(own.numpy(), self.n, self._share))

    @property
    def p_upper(self) -> Tensor:
        """(N,) float64: the upper bound of every other class's probability."""
        rest = 1 - self.p_lower
        if self.bound == "two-class":
            return rest
        others = self.counts.scatter(1, self.selected[:, None].clamp_min(0), -1).amax(1).clamp_min(0)
        return rest.minimum(torch.from_numpy(clopper_pearson_upper(others.numpy(), self.n, self._share)))

    @property
    def _share(self) -> float:
        """The probability of error of each of the bounds."""
        return self.alpha if self.bound == "two-class" else self.alpha / self.counts.shape[1]

    @property
    def radius(self) -> Tensor:
        """(N,) float64: the certified L2 radius, in units of [0, 1]; 0 where it abstains."""
        from scipy.special import ndtri  # type: ignore[import-untyped]

        low, high = self.p_lower.numpy(), self.p_upper.numpy()
        with np.errstate(invalid="ignore"):
            radius = np.where(low > high, self.sigma / 2 * (ndtri(low) - ndtri(high)), 0.0)
        return torch.from_numpy(radius)

    @property
    def predicted(self) -> Tensor:
        """(N,) int64: the certified class, or `ABSTAIN` where there is no radius above 0."""
        return torch.where(self.radius > 0, self.selected, ABSTAIN)

    def radius_in(self, p: float) -> Tensor:
        """(N,) float64: the radius of the largest Lp ball within the certified L2 ball.

        It is R for p <= 2, as |d|_2 <= |d|_p there, and R D^(1/p - 1/2) in D dimensions for p > 2: R / sqrt(D) in Linf.

        Raises: ConfigError for p < 1.
        """
        if not p >= 1:
            raise ConfigError(f"radius_in p={p!r}; pass a norm's p from 1, or math.inf")
        shrunk: float = self.dimension ** min(0.0, (0.0 if p == math.inf else 1 / p) - 0.5)
        return self.radius * shrunk

    def joint(self) -> SmoothingCertificates:
        """Return the same draws' certificates at alpha / N: all of them are true at once with probability 1 - alpha.

        So is each number derived from them, as a whole curve of certified accuracy, whether or not the draws of one
        image are independent of another's (Bonferroni). Where they are, `most_false_certificates(N, alpha, error)`
        bounds how many of the certificates that are not joint are false.
        """
        return replace(self, alpha=self.alpha / max(1, len(self)))

    def certified_accuracy(self, labels: Any, radii: Any) -> Tensor:
        """Return (len(radii),) float64: the share of images certified for their label at each L2 radius or beyond.

        At radius 0 these are all that are certified for their label; an abstention is an error.

        Args:
            labels: (N,) classes, as a tensor, an array or a list; InputError where they are not.
            radii: in units of [0, 1], as a tensor or a list.
        """
        reached = self.radius[:, None] >= torch.as_tensor(radii, dtype=torch.float64)
        return (reached & self._correct(labels)[:, None]).double().mean(0)

    def average_radius(self, labels: Any) -> float:
        """Return the average certified radius (ACR: Zhai et al. 2020, arXiv:2001.02378): 0 where the class is wrong."""
        return float((self.radius * self._correct(labels)).mean())

    def _correct(self, labels: Any) -> Tensor:
        """Return (N,) bool: certified for the label."""
        return self.predicted == as_labels(labels, len(self))


def check_alpha(given: Any) -> float:
    """Return alpha; ConfigError where it is no probability of error."""
    alpha = plain_number(given)
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < alpha < 1:
        raise ConfigError(f"alpha={given!r}; pass a probability of error between 0 and 1, as 0.001")
    return float(alpha)


def check_certificates(n: int, alpha: float, bound: str = BOUNDS[0], classes: int = 1) -> None:
    """Raise ConfigError where n draws bound no probability of `classes` above 1/2: alpha^(1/n) > 1/2 is needed."""
    check_alpha(alpha)
    if bound not in BOUNDS:
        raise ConfigError(f"bound={bound!r}; pass one of {', '.join(BOUNDS)}")
    least = math.floor(math.log2((1 if bound == "two-class" else classes) / alpha)) + 1
    if n < least:
        raise ConfigError(
            f"n={n} draws cannot certify at alpha={alpha:g} ({bound}), even where all of them agree; pass n >= "
            f"{least}, or a larger alpha"
        )
