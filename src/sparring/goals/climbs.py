"""Losses that a first-order attack ascends: functions of a goal's terms, the same for the goals of every task.

For a classifier they are the usual losses on logits z, with y the label of an untargeted goal. For a targeted goal y is
the target class, and the sign is reversed. A higher loss is nearer to the goal.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import GoalError
from ..log_probabilities import kl_divergence
from ..random import Key
from ..shapes import BoolSites, FloatPerPart, FloatPerRow, IntPerRow, IntSites, Logits
from . import logits as closed_forms
from .terms import Terms

LOG_2 = math.log(2)
SATURATED = 50.0  # softplus(v) is v beyond
NO_ZERO = 1e-12  # added to what is divided by
SPREAD_SHARE = 0.2  # of the spread of the logits: the temperature of the scaled cross-entropy
MASKED = 1e3  # logits that lie so far below the largest, and all at one place, are those of masked classes
SAME_PLACE = 0.01  # of that distance: how near to each other they lie
FAR_BELOW = 100.0  # times the distance of the class before them


class Climb(ABC):
    """A loss to ascend; as a row-wise record it is a frozen dataclass whose tensors have one row per input."""

    @abstractmethod
    def of(self, terms: Terms) -> FloatPerRow:
        """Return the loss (B,), which is higher the nearer the rows are to the goal."""

    def in_sum(self) -> Climb:
        """Return the loss to use where gradients are added up, so that the length of a gradient matters."""
        return self

    def of_parts(self, terms: Terms, counted: BoolSites, groups: IntSites | None = None) -> FloatPerPart:
        """Return the loss (B, P) of the parts of rows, the mean of which over those that count is the row's loss.

        Args:
            terms: of the parts, (B * P, K).
            counted: (B, P), the parts that count.
            groups: (B, P) the class of each part, from 0 to K - 1, for losses that weigh classes alike; None: unknown.
        """
        return self.of(terms).view(counted.shape)


class LogitClimb(Climb):
    """Base class of losses that need the logits themselves, not only their differences (`Terms`)."""

    @abstractmethod
    def of_logits(self, logits: Logits, classes: IntPerRow, every: bool) -> FloatPerRow:
        """Return the loss (B,) for logits (B, K) and classes (B,) int64: labels, or with `every` target classes."""

    def of(self, terms: Terms) -> FloatPerRow:
        """Raise GoalError, unless a subclass defines the loss for goals without logits."""
        raise GoalError(f"{type(self).__name__} is a loss on logits, and this goal is none of a classifier")


@dataclass(frozen=True)
class Margin(Climb):
    """The goal's own margin: max_{i != y} z_i - z_y (Carlini & Wagner 2017, arXiv:1608.04644, f_6)."""

    def of(self, terms: Terms) -> FloatPerRow:
        """Return the margin (B,)."""
        return terms.margin


@dataclass(frozen=True)
class SmoothMargin(Climb):
    """The margin with its maximum made smooth, T log sum_{i != y} exp(z_i / T) - z_y.

    Args:
        temperature: T, a number or (B,); the nearer to 0, the nearer to the margin.
    """

    temperature: float | FloatPerRow

    def of(self, terms: Terms) -> FloatPerRow:
        """Return the smooth margin (B,)."""
        return terms.smooth_margin(self.temperature)


@dataclass(frozen=True)
class PowerMargin(Climb):
    """The margin with its maximum made smooth, whatever the scale of the logits; attacks ascend it by default.

    With the leads v_k = z_k - z_y of the other classes:

        untargeted   -( sum_k |v_k|^-4 )^(-1/4)          while y leads all of them: a smooth maximum of the v_k < 0
        targeted     -( sum_k max(v_k, 0)^4 )^(1/4)      while some lead y: a smooth maximum of the v_k > 0

    A rival counts by its lead over that of the nearest one, the fifth power of their ratio or the third: alike for an
    untrained net and for one that is very sure of itself. c * z makes c times the loss; and the nearer the boundary,
    the nearer it is to the margin. (A softmax at temperature 1 counts all classes alike where logits differ little, and
    the nearest alone where they differ much.) Beyond the boundary the same holds of v_k - 2 max_j v_j, the maximum
    being a constant of the gradient.
    """

    def of(self, terms: Terms) -> FloatPerRow:
        """Return the smooth margin (B,), which has the margin's sign."""
        loss = closed_forms.power_margin(-terms.values if terms.every else terms.values, terms.every)
        return -loss if terms.every else loss

    def in_sum(self) -> Climb:
        """Return the cross-entropy of the logits over their spread, which falls where a row has succeeded."""
        return ScaledCrossEntropy()


@dataclass(frozen=True)
class LogOdds(Climb):
    """log (1 - p_y) / p_y of the softmax p: the direction of the cross-entropy and of p_y itself, without their zeros.

    d CE = (1 - p_y) d LogOdds, and where the model is confident enough 1 - p_y is 0 in floating point.
    """

    def of(self, terms: Terms) -> FloatPerRow:
        """Return the smooth margin (B,) at temperature 1."""
        return terms.smooth_margin(1.0)

    def in_sum(self) -> Climb:
        """Return the cross-entropy, whose gradient has the same direction."""
        return CrossEntropy()


@dataclass(frozen=True)
class CrossEntropy(Climb):
    """-log p_y of the softmax p, which is softplus(log-odds against y)."""

    def of(self, terms: Terms) -> FloatPerRow:
        """Return the cross-entropy (B,), negative where the terms are those of a class to become."""
        sign = -1.0 if terms.every else 1.0
        return sign * F.softplus(sign * terms.smooth_margin(1.0), threshold=SATURATED)


@dataclass(frozen=True)
class ScaledCrossEntropy(Climb):
    """The cross-entropy of z / T, where T is a fifth of the spread that `DLR` divides by (a constant of the gradient).

    It is invariant to the scale of the logits: neither flat where a model is very sure of itself, nor a mean over all
    classes where it answers nearly the same for each. With two classes T is 1.
    """

    def of(self, terms: Terms) -> FloatPerRow:
        """Return the cross-entropy (B,), negative where the terms are those of a class to become."""
        size = known_spread(terms, four=terms.every).detach()
        return CrossEntropy().of(_tempered(terms, torch.where(size.isfinite(), SPREAD_SHARE * size + NO_ZERO, 1.0)))

    def of_parts(self, terms: Terms, counted: BoolSites, groups: IntSites | None = None) -> FloatPerPart:
        """Return the loss (B, P) with one T for all parts of a row, their mean spread: the nearest count most."""
        return CrossEntropy().of(_tempered(terms, _mean_spread(terms, counted).flatten())).view(counted.shape)


@dataclass(frozen=True)
class JensenShannon(Climb):
    """The Jensen-Shannon divergence of the softmax p from the label, from 0 (p_y = 1) to log 2 (p_y = 0).

        JS = ( (1 - p_y) log 2 + p_y log( 2 p_y / (1 + p_y) ) + log( 2 / (1 + p_y) ) ) / 2

    Its gradient vanishes for pixels that are wrong beyond doubt as well as for those that are right, so that the sum
    over an image goes to those that can still be turned (Croce, Singh & Hein 2024, arXiv:2306.12941, L_JS).

    Departure: among the parts of a row the softmax has one temperature, a fifth of the mean spread of their logits, or
    with two classes of the mean size of their margins: the same loss at any scale of the logits.
    """

    def of(self, terms: Terms) -> FloatPerRow:
        """Return the divergence (B,), negative where the terms are those of a class to become."""
        odds = terms.smooth_margin(1.0)  # log (1 - p_y) / p_y; of a class to become, the reverse
        sign = -1.0 if terms.every else 1.0
        log_p, log_rest = F.logsigmoid(-sign * odds), F.logsigmoid(sign * odds)
        p, log_sum = log_p.exp(), log_p.exp().log1p()
        return sign * 0.5 * (log_rest.exp() * LOG_2 + p * (LOG_2 + log_p - log_sum) + LOG_2 - log_sum)

    def of_parts(self, terms: Terms, counted: BoolSites, groups: IntSites | None = None) -> FloatPerPart:
        """Return the loss (B, P) with one temperature for all parts of a row."""
        return self.of(_tempered(terms, _shared_temperature(terms, counted).flatten())).view(counted.shape)


@dataclass(frozen=True)
class MaskedCrossEntropy(Climb):
    """The cross-entropy in which the pixels that are wrong already weigh less than those that are still right.

    SegPGD's loss with `won_weight` lambda (Gu et al. 2022, arXiv:2207.12391, eq. 4); the masked losses of SEA with 0,
    L_MCE, and with `balanced` L_MCE-Bal (Croce, Singh & Hein 2024, arXiv:2306.12941).

    Departure: among the parts of a row the softmax has one temperature, a share of the mean spread of their logits, or
    with two classes of the mean size of their margins: the same loss at any scale of the logits.

    Args:
        won_weight: lambda in [0, 1], the weight of the parts that are won; the others weigh 1 - lambda.
        balanced: divide by the number of the row's pixels of the same class, which bounds the mean IoU rather than the
            share of wrong pixels. A goal without classes of parts takes all alike.
        spread_share: the temperature among parts, in units of that spread; the lower, the more the pixels count that
            are near to another class.
    """

    won_weight: float = 0.0
    balanced: bool = False
    spread_share: float = SPREAD_SHARE

    def __post_init__(self) -> None:
        if not isinstance(self.won_weight, int | float) or not 0 <= self.won_weight <= 1:
            raise GoalError(f"won_weight={self.won_weight!r:.80}; pass a number in [0, 1]")
        if not isinstance(self.spread_share, int | float) or not 0 < self.spread_share < math.inf:
            raise GoalError(f"spread_share={self.spread_share!r:.80}; pass a number above 0")

    def of(self, terms: Terms) -> FloatPerRow:
        """Return the weighted cross-entropy (B,)."""
        return CrossEntropy().of(terms) * self._weights(terms)

    def of_parts(self, terms: Terms, counted: BoolSites, groups: IntSites | None = None) -> FloatPerPart:
        """Return the loss (B, P) with one temperature for all parts of a row."""
        tempered = _tempered(terms, _shared_temperature(terms, counted, self.spread_share).flatten())
        losses = (CrossEntropy().of(tempered) * self._weights(terms)).view(counted.shape)
        if not self.balanced or groups is None:
            return losses
        return losses * _class_weights(groups, counted, terms.values.shape[1])

    def _weights(self, terms: Terms) -> FloatPerRow:
        return torch.where(terms.margin.detach() > 0, self.won_weight, 1 - self.won_weight)


def _class_weights(groups: IntSites, counted: BoolSites, classes: int) -> FloatPerPart:
    """Return weights (B, P) of mean 1 over the parts that count, which add up to the same for each class of a row."""
    index = torch.where(counted, groups, 0)
    sizes = index.new_zeros((len(groups), classes)).scatter_add_(1, index, counted.to(index.dtype))
    present = (sizes > 0).sum(1, keepdim=True)
    weights = counted.sum(1, keepdim=True) / (present * sizes.gather(1, index)).clamp_min(1)
    return torch.where(counted, weights, 0.0)


def _mean_spread(terms: Terms, counted: BoolSites) -> FloatPerPart:
    """Return the mean spread (B, P) over the parts of each row, 1 where it is not known."""
    size = known_spread(terms, four=terms.every).detach().view(counted.shape)
    known = counted & size.isfinite()
    count = known.sum(1, keepdim=True)
    mean = torch.where(known, size, 0.0).sum(1, keepdim=True) / count.clamp_min(1)
    return torch.where(count > 0, mean + NO_ZERO, 1.0).expand_as(size)


def _shared_temperature(terms: Terms, counted: BoolSites, share: float = SPREAD_SHARE) -> FloatPerPart:
    """Return a temperature (B, P) for the parts: a share of the mean spread over those of its row.

    With two classes, whose spread nobody knows, of the mean size of the margin; 1 where that is not known either.
    """
    size = known_spread(terms, four=terms.every).detach().view(counted.shape)
    apart = terms.margin.detach().abs().view(counted.shape)
    size = torch.where(size.isfinite(), size, apart)
    known = counted & size.isfinite()
    count = known.sum(1, keepdim=True)
    mean = torch.where(known, size, 0.0).sum(1, keepdim=True) / count.clamp_min(1)
    return torch.where(count > 0, share * mean + NO_ZERO, 1.0).expand_as(size)


def _tempered(terms: Terms, temperature: FloatPerRow) -> Terms:
    """The terms over a temperature for each row."""
    return replace(terms, values=terms.values / temperature[:, None])


@dataclass(frozen=True)
class DLR(Climb):
    """The margin over a spread of the logits, invariant to their scale (Croce & Hein 2020, arXiv:2003.01690).

    Untargeted, the spread is z_(1) - z_(3) (eq. 6). Targeted, it is z_(1) - (z_(3) + z_(4)) / 2 (eq. 7):
    with eq. 6 the loss would be constant where the class ranks third.

    Departures: with three classes eq. 7's spread is z_(1) less the mean of the three; with two, or as few terms of
    another task, it is 1, so that the loss is the margin.
    """

    def of(self, terms: Terms) -> FloatPerRow:
        """Return the margin over the spread of the logits (B,)."""
        return terms.margin / spread(terms, four=terms.every)


@dataclass(frozen=True)
class SmoothDLR(SmoothMargin):
    """The smooth margin over the spread of `DLR`.

    Args:
        temperature: T in units of the logits, a number or (B,), before they are divided by their spread; the nearer to
            0, the nearer to `DLR`. It alone makes the loss depend on the scale of the logits: pass a share of each
            row's margin at the image, as ALMA does.
    """

    def of(self, terms: Terms) -> FloatPerRow:
        """Return the smooth margin over the spread of the logits (B,)."""
        return super().of(terms) / spread(terms, four=terms.every)


@dataclass(frozen=True)
class RivalMargin(Climb):
    """The margin of one rival class r per row, z_r - z_y; the margin itself for targeted goals, which have one rival.

    Args:
        place: (B,) int64, indices of the rivals among the terms, as of `oracle.rivals`: for a classifier, classes.
    """

    place: IntPerRow

    def of(self, terms: Terms) -> FloatPerRow:
        """Return the value (B,) of the rival's term."""
        return terms.margin if terms.every else terms.values.gather(1, self.place[:, None]).squeeze(1)


@dataclass(frozen=True)
class RivalDLR(RivalMargin):
    """The rival's margin over the spread of eq. 7, whose departures are those of `DLR`: AutoAttack's targeted DLR."""

    def of(self, terms: Terms) -> FloatPerRow:
        """Return the rival's margin over the spread of the logits (B,)."""
        return super().of(terms) / spread(terms, four=True)


@dataclass(frozen=True)
class RandomDirection(LogitClimb):
    """A random weighting of the logits, uniform in [-1, 1], or of the terms: output-diversified sampling.

    Tashiro et al. 2020, arXiv:2003.06878, eq. 1.

    Args:
        key: the key of the rows.
        step: the number of the draw.
    """

    key: Key
    step: int

    def of_logits(self, logits: Logits, classes: IntPerRow, every: bool) -> FloatPerRow:
        """Return the weighted sums (B,) of the logits (B, K)."""
        return (logits * self._weights(logits)).sum(1)

    def of(self, terms: Terms) -> FloatPerRow:
        """Return the weighted sums (B,) of the finite terms."""
        values = terms.values
        return (values.masked_fill(values.isinf(), 0) * self._weights(values)).sum(1)

    def _weights(self, values: Tensor) -> Tensor:
        return 2 * self.key.uniform("direction", values.shape[1:], self.step, values.dtype) - 1


@dataclass(frozen=True)
class Divergence(LogitClimb):
    """KL( softmax(z') || softmax(z) ) from other logits z', whatever the label (Zhang et al. 2019, arXiv:1901.08573).

    Zero, with a zero gradient, where z = z'.

    Args:
        reference: z' (B, K).
    """

    reference: Logits

    def of_logits(self, logits: Logits, classes: IntPerRow, every: bool) -> FloatPerRow:
        """Return the divergence (B,), negative with `every`."""
        loss = kl_divergence(self.reference.detach(), logits)
        return -loss if every else loss


def spread(terms: Terms, four: bool) -> FloatPerRow:
    """Return what DLR divides by (B,), above 0: eq. 6's z_(1) - z_(3), or with `four` eq. 7's; see `DLR`."""
    size = known_spread(terms, four)
    return torch.where(size.isfinite(), size, 1.0) + NO_ZERO


def known_spread(terms: Terms, four: bool) -> FloatPerRow:
    """Return the spread (B,), infinite where there is no third class.

    Terms determine logits up to a constant: the label or target class is set to 0, the others to their terms. Classes
    masked with a large negative number are as absent as those of -inf: all at one place, more than `MASKED` below the
    largest, and a hundred times as far as the class before them.
    """
    logits = F.pad(-terms.values if terms.every else terms.values, (0, 1))
    classes = logits.shape[1]
    if classes < 3:
        return logits.new_full((len(logits),), torch.inf)
    top = logits.topk(min(4 if four else 3, classes), dim=1).values
    first = top[:, 0]
    if classes > 3:
        below = first[:, None] - top
        deepest = first - logits.masked_fill(logits.isneginf(), torch.inf).amin(1)
        masked = (below[:, 2:] > MASKED) & (below[:, 2:] > FAR_BELOW * below[:, 1:-1])
        masked &= deepest[:, None] <= (1 + SAME_PLACE) * below[:, 2:]
        top = torch.cat((top[:, :2], top[:, 2:].masked_fill(masked, -torch.inf)), dim=1)
    if not four:
        return first - top[:, 2]
    size = first - top[:, :3].mean(1)
    if top.shape[1] < 4:
        return size
    third, fourth = top[:, 2], top[:, 3]
    return torch.where(fourth.isfinite() & third.isfinite(), first - (third + fourth) / 2, size)
