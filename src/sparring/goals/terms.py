"""Terms: the conditions of winning, of which the margin and every loss are functions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..log_probabilities import log_sum_exp
from ..shapes import FloatPerRow, FloatPerWay, IntPerWay

COLDEST = 1e-6  # of the margin: the lowest temperature of a smooth margin


@dataclass(frozen=True)
class Terms:
    """The conditions of success (B, K), positive where met: one of them suffices, or every one is needed.

        one suffices      values[b, k] = z_k - z_y           untargeted: some class exceeds the label y
        every one         values[b, k] = z_y - z_k           targeted: the target class y exceeds all others

    Attributes:
        values: (B, K); a row that has fewer conditions holds -inf in the places that are left over, or +inf where every
            one is needed. Each row has one condition at least.
        every: whether every condition is needed.
        count: conditions per row at most; None: K.
    """

    values: FloatPerWay
    every: bool = False
    count: int | None = None

    @property
    def margin(self) -> FloatPerRow:
        """The margins (B,), positive exactly where the attacker has won."""
        return self.values.amin(1) if self.every else self.values.amax(1)

    def smooth_margin(self, temperature: float | FloatPerRow) -> FloatPerRow:
        """Return the margins (B,) with a smooth maximum or minimum, T log sum exp(values / T); T: a number or (B,)."""
        if isinstance(temperature, Tensor):
            temperature = self._not_too_cold(temperature.to(self.values.dtype))[:, None]
        if not isinstance(temperature, Tensor) and temperature == 1:
            return -log_sum_exp(-self.values, 1) if self.every else log_sum_exp(self.values, 1)
        signed = -temperature if self.every else temperature
        total = log_sum_exp(self.values / signed, 1)
        return total * (signed.squeeze(1) if isinstance(signed, Tensor) else signed)

    def _not_too_cold(self, temperature: FloatPerRow) -> FloatPerRow:
        """Return temperatures (B,) by which the margin can be divided."""
        numbers = torch.finfo(temperature.dtype)
        least = (COLDEST * self.margin.detach().abs()).clamp(numbers.tiny, numbers.max)
        return torch.maximum(temperature, least)

    def nearest(self, k: int) -> tuple[FloatPerWay, IntPerWay]:
        """Return the largest values (B, <= k), largest first, and their indices (B, <= k) int64: the nearest rivals.

        Where every condition is needed there is one rival, with index 0, and its value is the margin. A condition of
        -inf, as of a class that the model never answers, is no rival: the nearest one stands in its place.
        """
        if self.every:
            margin = self.margin[:, None]
            return margin, torch.zeros_like(margin, dtype=torch.long)
        count = self.values.shape[1] if self.count is None else self.count
        values, places = self.values.topk(min(k, count), dim=1)
        absent = values.isneginf()
        return torch.where(absent, values[:, :1], values), torch.where(absent, places[:, :1], places)


def mean_terms(answers: list[Terms]) -> Terms:
    """Return the mean of the terms of several answers about the same rows."""
    first = answers[0]
    if len(answers) == 1:
        return first
    return Terms(torch.stack([terms.values for terms in answers]).mean(0), first.every, first.count)
