"""Terms: the conditions of winning, of which the margin and every loss are functions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..shapes import FloatPerRow, FloatPerWay, IntPerWay


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
            temperature = temperature[:, None].to(self.values.dtype).clamp_min(1e-6)
        if not isinstance(temperature, Tensor) and temperature == 1:
            return -(-self.values).logsumexp(1) if self.every else self.values.logsumexp(1)
        signed = -temperature if self.every else temperature
        return ((self.values / signed).logsumexp(1, keepdim=True) * signed).squeeze(1)

    def nearest(self, k: int) -> tuple[FloatPerWay, IntPerWay]:
        """Return the largest values (B, <= k), largest first, and their indices (B, <= k) int64: the nearest rivals.

        Where every condition is needed there is one rival, with index 0, and its value is the margin.
        """
        if self.every:
            margin = self.margin[:, None]
            return margin, torch.zeros_like(margin, dtype=torch.long)
        count = self.values.shape[1] if self.count is None else self.count
        top = self.values.topk(min(k, count), dim=1)
        return top.values, top.indices


def mean_terms(answers: list[Terms]) -> Terms:
    """Return the mean of the terms of several answers about the same rows."""
    first = answers[0]
    if len(answers) == 1:
        return first
    return Terms(torch.stack([terms.values for terms in answers]).mean(0), first.every, first.count)
