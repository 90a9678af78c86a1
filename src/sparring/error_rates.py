"""Error rates of verification: false accepts and false rejects, thresholds at a stated rate, scores from 0 to 100.

A comparison of two pictures of one person is genuine, of two persons an impostor's. At a threshold a comparison is
accepted where its similarity is the threshold or above. The false accept rate (FAR) is the share of accepted impostors,
the false reject rate (FRR) that of rejected genuine ones (ISO/IEC 19795-1). Intervals are those of Clopper and Pearson,
and take comparisons as independent; those that share a picture are not, so that they are narrower than the truth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import ConfigError, InputError
from .intervals import Interval, clopper_pearson

FALSE_ACCEPTS = 30  # a rate is stated where so many impostors decide it


@dataclass(frozen=True)
class Threshold:
    """A threshold calibrated on impostors: `requested` is the rate asked for, `false_accept` the one on them."""

    value: float
    requested: float
    false_accept: Interval


@dataclass(frozen=True)
class ErrorRates:
    """The two error rates at a threshold."""

    threshold: float
    false_accept: Interval
    false_reject: Interval


@dataclass(frozen=True)
class ErrorCurve:
    """Both error rates at every threshold at which one of them changes: the points of a ROC and of a DET curve.

    Attributes:
        thresholds, false_accept, false_reject: (K,) float64; thresholds ascend, and the last accepts nothing.
    """

    thresholds: Tensor
    false_accept: Tensor
    false_reject: Tensor

    def roc(self) -> tuple[Tensor, Tensor]:
        """Return the false accept rates (K,), ascending, and the true accept rates (K,) beside them."""
        return self.false_accept.flip(0), 1 - self.false_reject.flip(0)

    def det(self) -> tuple[Tensor, Tensor]:
        """Return both error rates (K,) as normal deviates, which DET curves are drawn in; 0 and 1 are infinite."""
        return torch.special.ndtri(self.false_accept), torch.special.ndtri(self.false_reject)


@dataclass(frozen=True)
class EqualErrorRate:
    """The rate at which false accepts and false rejects are equal, between two thresholds, and where."""

    rate: float
    threshold: float


@dataclass(frozen=True)
class Comparisons:
    """The similarities of genuine (n,) and impostor (m,) comparisons, higher for what is more alike.

    Raises: InputError where one of them is empty, or a similarity is not finite.
    """

    genuine: Tensor
    impostor: Tensor

    def __post_init__(self) -> None:
        for word in ("genuine", "impostor"):
            _check_similarities(word, getattr(self, word))

    def rates(self, threshold: float) -> ErrorRates:
        """Return both error rates at a threshold."""
        rejected = int((self.genuine.double() < threshold).sum())
        return ErrorRates(
            float(threshold), _accepted(self.impostor, threshold), clopper_pearson(rejected, len(self.genuine))
        )

    def curve(self) -> ErrorCurve:
        """Return the error rates at every threshold."""
        genuine, impostor = (one.double().sort().values for one in (self.genuine, self.impostor))
        thresholds = torch.unique(torch.cat((genuine, impostor)))
        thresholds = torch.cat((thresholds, thresholds.new_tensor([math.inf])))
        rejected, refused = (torch.searchsorted(one, thresholds).double() / len(one) for one in (genuine, impostor))
        return ErrorCurve(thresholds, 1 - refused, rejected)

    def equal_error_rate(self) -> EqualErrorRate:
        """Return the equal error rate, linearly interpolated between the thresholds on both sides of it."""
        curve = self.curve()
        gap = curve.false_reject - curve.false_accept  # ascends from -1 to 1
        place = int((gap >= 0).nonzero()[0])
        before, after = float(gap[place - 1]), float(gap[place])
        share = before / (before - after)
        rate = float(curve.false_reject[place - 1].lerp(curve.false_reject[place], share))
        return EqualErrorRate(
            rate, float(curve.thresholds[place if math.isfinite(curve.thresholds[place]) else place - 1])
        )


def compare_all(similarities: Tensor, persons: Tensor, others: Tensor | None = None) -> Comparisons:
    """Return all comparisons among N pictures, each pair once, or of N pictures with M others.

    Args:
        similarities: (N, N), or (N, M) with `others`.
        persons: (N,) int64, who is in each picture.
        others: (M,) int64, who is in each of the others.

    Raises: InputError for shapes that do not fit, or where all or none of the pairs are of one person.
    """
    shape = (len(persons), len(persons if others is None else others))
    if tuple(similarities.shape) != shape:
        raise InputError(f"similarities are {shape} for these persons; got {tuple(similarities.shape)}")
    same = persons[:, None] == (persons if others is None else others)
    counted = torch.ones_like(same).triu(1) if others is None else torch.ones_like(same)
    return Comparisons(similarities[counted & same], similarities[counted & ~same])


def calibrate_threshold(impostor: Tensor, false_accept_rate: float) -> Threshold:
    """Return the least threshold at which no more than a share of the impostors is accepted.

    It lies midway between the similarities on both sides of it. Calibrate it on other persons than those that are
    attacked.

    Args:
        impostor: (m,) similarities of different persons.
        false_accept_rate: the share, as 0.001.

    Raises: ConfigError for a share that is none, InputError where fewer than 30 of so many impostors decide it.
    """
    _check_similarities("impostor", impostor)
    if (
        isinstance(false_accept_rate, bool)
        or not isinstance(false_accept_rate, int | float)
        or not 0 < false_accept_rate < 1
    ):
        raise ConfigError(f"false_accept_rate={false_accept_rate!r:.80}; pass a share between 0 and 1, as 0.001")
    allowed = math.floor(false_accept_rate * len(impostor) + 1e-9)
    if allowed < FALSE_ACCEPTS:
        needed = math.ceil(FALSE_ACCEPTS / false_accept_rate)
        raise InputError(
            f"a false accept rate of {false_accept_rate:g} of {len(impostor):,} impostors is decided by {allowed} of "
            f"them; compare {needed:,} pairs, or state a higher rate"
        )
    values = impostor.sort(descending=True).values
    refused = values[allowed]  # the first that must not be accepted
    above = values[values > refused]
    least = above[-1] if len(above) else torch.nextafter(refused, refused.new_tensor(math.inf))
    middle = refused + (least - refused) / 2
    value = float(middle if middle > refused else least)  # also in the precision of the similarities
    return Threshold(value, float(false_accept_rate), _accepted(impostor, value))


@dataclass(frozen=True)
class ScoreMap:
    """A map of similarities to scores from 0 to 100: linear up to the threshold, and from there on.

        0 at `zero`, `score` at `threshold`, 100 at `hundred`; 0 below and 100 above

    Every vendor has its own; scores of two maps cannot be compared.

    Raises: ConfigError where the four do not ascend.
    """

    zero: float
    threshold: float
    hundred: float
    score: float = 60.0

    def __post_init__(self) -> None:
        if not (-math.inf < self.zero < self.threshold < self.hundred < math.inf and 0 < self.score < 100):
            raise ConfigError(f"{self} does not ascend; pass zero < threshold < hundred, and a score between 0 and 100")

    def __call__(self, similarities: Tensor) -> Tensor:
        """Return the scores of similarities, of any shape."""
        below = self.score * (similarities - self.zero) / (self.threshold - self.zero)
        above = self.score + (100 - self.score) * (similarities - self.threshold) / (self.hundred - self.threshold)
        return torch.where(similarities < self.threshold, below, above).clamp(0, 100)


@dataclass(frozen=True)
class Identification:
    """The answers of a search for N pictures in a gallery, row by row.

    Attributes:
        person: (N,) int64, whose template is the most similar one; -1 where none reaches the threshold.
        similarity: (N,), to that template.
    """

    person: Tensor
    similarity: Tensor


def identify(similarities: Tensor, persons: Tensor, threshold: float = -math.inf) -> Identification:
    """Search N pictures in a gallery of M templates: 1:N identification, with a threshold of an open set.

    Args:
        similarities: (N, M) of pictures and templates.
        persons: (M,) int64, to whom each template belongs.
        threshold: below it nobody is found.

    Raises: InputError for shapes that do not fit.
    """
    if similarities.ndim != 2 or similarities.shape[1] != len(persons) or len(persons) == 0:
        raise InputError(f"similarities are (N, {len(persons)}) for these templates; got {tuple(similarities.shape)}")
    best, place = similarities.max(1)
    return Identification(torch.where(best >= threshold, persons[place], -1), best)


def _accepted(impostor: Tensor, threshold: float) -> Interval:
    return clopper_pearson(int((impostor.double() >= threshold).sum()), len(impostor))


def _check_similarities(word: str, values: Tensor) -> None:
    if not isinstance(values, Tensor) or values.ndim != 1 or not values.is_floating_point() or not len(values):
        got = f"{values.dtype} {tuple(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
        raise InputError(f"{word} similarities are real numbers (n,), at least one; got {got}")
    if not bool(values.isfinite().all()):
        raise InputError(f"a similarity of the {word} comparisons is not finite; leave pictures without a face out")
