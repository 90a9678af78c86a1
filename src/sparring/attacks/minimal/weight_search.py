"""The search of L-BFGS over the weight of the loss (Szegedy et al. 2013, arXiv:1312.6199), row by row."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

GROWTH, FALL = 10.0, 4.0  # of the weight until the first success, and from there to the first failure


@dataclass(frozen=True)
class WeightSearch:
    """The search over the weight 1 / c of the loss beside |x' - x|_2^2: every tensor is (B,).

    The weight grows tenfold until the first success, then falls fourfold until a failure, and is bisected in its
    logarithm.
    """

    weight: Tensor  # in this round
    low: Tensor  # the largest that failed
    high: Tensor  # the smallest that succeeded
    round: Tensor  # int64: rounds that are over
    steps: Tensor  # int64: steps done in this round
    found: Tensor  # bool: has this round found an example?

    @classmethod
    def start(cls, weight: Tensor) -> WeightSearch:
        """Return the search before the first step, with the first weights (B,)."""
        none = torch.zeros_like(weight, dtype=torch.long)
        return cls(weight, torch.zeros_like(weight), torch.full_like(weight, torch.inf), none, none, none > 0)

    def after_step(self, found: Tensor, converged: Tensor, steps: int) -> tuple[WeightSearch, Tensor]:
        """Return the search after one more step, and (B,) bool: which rows begin their next round.

        Args:
            found: (B,) bool, has the step found an example?
            converged: (B,) bool, has the round come to its end?
            steps: a round's length at most.
        """
        done, found = self.steps + 1, self.found | found
        over = converged | (done >= steps)
        high = torch.where(over & found, torch.minimum(self.high, self.weight), self.high)
        failed = over & ~found & high.isfinite()  # before the first success it says nothing: there are two minima
        low = torch.where(failed, torch.maximum(self.low, self.weight), self.low)
        outside = torch.where(found, self.weight / FALL, self.weight * GROWTH)
        weight = torch.where((low > 0) & high.isfinite(), (low * high).sqrt(), outside)
        weight = torch.where(over, weight, self.weight)
        return WeightSearch(weight, low, high, self.round + over, done * ~over, found & ~over), over

    def is_over(self, binary_search_steps: int, tolerance: float) -> Tensor:
        """Return (B,) bool: are all rounds done, or is the weight known to this factor, less one?"""
        return (self.round >= binary_search_steps) | (self.high <= self.low * (1 + tolerance))
