"""The maximum of groups of components, as max pooling takes it, and linear functions below and above it.

Below it lies each of its components; that of the greatest lower bound is taken. Above it, for any threshold w,

    max_j x_j  <=  w + sum_j max(x_j - w, 0)  <=  w + sum_j chord_j(x_j)

with w such that the slopes of the chords sum to 1 (Boopathy et al. 2019, CNN-Cert, arXiv:1811.12395), or the constant
max_j u_j where that is lower in the middle. Where one component exceeds all others it is the maximum itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

BISECTIONS = 40


class Groups(NamedTuple):
    """For each group its members: places (n, k) in a flattened row, and which of them are there (n, k)."""

    places: Tensor
    present: Tensor


class MaximumLines(NamedTuple):
    """Linear functions of the members (B, n, k) with intercepts (B, n), below and above the maximum."""

    lower: Tensor
    lower_intercept: Tensor
    upper: Tensor
    upper_intercept: Tensor


@dataclass(frozen=True)
class Maximum:
    """The maximum over each group; `pool` computes it as the network does, (N, ...) -> (N, ...)."""

    pool: Callable[[Tensor], Tensor]
    groups: Groups

    def __call__(self, x: Tensor) -> Tensor:
        """Return the maxima."""
        return self.pool(x)

    def members(self, x: Tensor, missing: float) -> Tensor:
        """Return the members (B, n, k) of each group; `missing` where there is none."""
        taken = x.flatten(1)[:, self.groups.places.to(x.device)]
        return taken.masked_fill(~self.groups.present.to(x.device), missing)

    def lines(self, low: Tensor, high: Tensor) -> MaximumLines:
        """Return the linear functions that hold for inputs between low and high, both (B, ...)."""
        present = self.groups.present.to(low.device)
        lows, highs = self.members(low, -torch.inf), self.members(high, -torch.inf)
        leader = lows.argmax(2, keepdim=True)
        one = torch.zeros_like(lows).scatter(2, leader, 1.0)
        greatest_low = lows.amax(2)
        others = highs.scatter(2, leader, -torch.inf).amax(2)
        single = others <= greatest_low
        lows, highs = (bound.masked_fill(~present, 0.0) for bound in (lows, highs))
        top = highs.masked_fill(~present, -torch.inf).amax(2)
        threshold = self._threshold(lows, highs, greatest_low, top)
        slope, intercept = self._chords(lows, highs, threshold)
        middle = (slope * (lows + highs) / 2).sum(2) + intercept
        flat = (top < middle)[..., None]
        slope, intercept = torch.where(flat, 0.0, slope), torch.where(flat[..., 0], top, intercept)
        slope = torch.where(single[..., None], one, slope)
        return MaximumLines(one, torch.zeros_like(intercept), slope, torch.where(single, 0.0, intercept))

    def _chords(self, lows: Tensor, highs: Tensor, threshold: Tensor) -> tuple[Tensor, Tensor]:
        """Slopes (B, n, k) and the intercept (B, n) of w + sum_j chord_j."""
        present, w = self.groups.present.to(lows.device), threshold[..., None]
        crosses = (lows < w) & (highs > w) & present
        slope = torch.where(crosses, (highs - w) / torch.where(crosses, highs - lows, 1.0), (lows >= w).to(lows.dtype))
        slope = slope * present
        return slope, threshold - (slope * torch.where(crosses, lows, w)).sum(2)

    @torch.no_grad()
    def _threshold(self, lows: Tensor, highs: Tensor, start: Tensor, stop: Tensor) -> Tensor:
        """The w (B, n) in [start, stop] at which the slopes of the chords sum to 1; they fall as it rises."""
        for _ in range(BISECTIONS):
            middle = (start + stop) / 2
            steep = self._chords(lows, highs, middle)[0].sum(2) > 1
            start, stop = torch.where(steep, middle, start), torch.where(steep, stop, middle)
        return stop


def pooling_groups(row: Tensor, windows: Callable[[Tensor], Tensor]) -> Groups:
    """Return the groups of a pooling.

    Args:
        row: (1, ...) any row of its inputs; its shape counts.
        windows: takes the members (n, k) of each window from a row; 0 where there is none.
    """
    places = torch.arange(1, row[0].numel() + 1, dtype=torch.float64).view(row.shape)
    found = windows(places).round().long() - 1
    return Groups(found.clamp(min=0), found >= 0)
