"""The search over the constant c that Carlini & Wagner (2017, section VI-A) make, each row at its own pace."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

GROWTH, LARGEST = 10.0, 1e10


@dataclass(frozen=True)
class Constant:
    """Each row's search over a constant c: times ten until the first success, then bisection."""

    c: Tensor
    low: Tensor
    high: Tensor
    round: Tensor
    inner: Tensor  # steps done in this round
    hit: Tensor  # has this round found an example?
    value: Tensor  # objective at the last look

    @staticmethod
    def starting(c: Tensor) -> Constant:
        none = torch.zeros_like(c, dtype=torch.long)
        return Constant(c, torch.zeros_like(c), torch.full_like(c, LARGEST), none, none, none > 0, c + torch.inf)

    def after(self, hit: Tensor, value: Tensor, inner: int, stalled: float) -> tuple[Constant, Tensor]:
        """The search after one more step, and (B,) which rows begin their next round.

        They do after `inner` steps, or where a look after a tenth of them finds the objective `value` above the
        share `stalled` of what it was at the last look.
        """
        steps, hit = self.inner + 1, self.hit | hit
        looks = steps % max(1, inner // 10) == 0
        over = (looks & (value > stalled * self.value)) | (steps >= inner)
        value = torch.where(looks, value, self.value)
        if not over.is_cuda and not bool(over.any()):  # the usual step; on a GPU looking would wait for the device
            return replace(self, inner=steps, hit=hit, value=value), over
        high = torch.where(over & hit, torch.minimum(self.high, self.c), self.high)
        low = torch.where(over & ~hit, torch.maximum(self.low, self.c), self.low)
        c = torch.where(high < LARGEST, (low + high) / 2, (self.c * GROWTH).clamp(max=LARGEST))
        c, value = torch.where(over, c, self.c), value.masked_fill(over, torch.inf)
        return Constant(c, low, high, self.round + over, steps * ~over, hit & ~over, value), over

    def known(self, rounds: int, tolerance: float) -> Tensor:
        """(B,) is the search over: all rounds done, or c known to this relative width?"""
        return (self.round >= rounds) | (self.high - self.low < tolerance * self.high)
