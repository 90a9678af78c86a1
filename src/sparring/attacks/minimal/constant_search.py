"""The binary search over the constant c of Carlini & Wagner and EAD, row by row.

    minimise  |x' - x|_2^2 + c * max(confidence - margin(x'), 0)

c grows tenfold until the first success and is bisected from there on (Carlini & Wagner 2017, arXiv:1608.04644, section
VI-A). An image is an example if its margin is above `confidence`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...access import Gradients, margin_objective
from ...access.oracle import Objective
from ...geometry import tiny
from ...goals import Verdict

GROWTH, SMALLEST, LARGEST = 10.0, 1e-6, 1e10  # of c


@dataclass(frozen=True)
class ConstantSearch:
    """The search over c: every tensor is (B,)."""

    const: Tensor  # c in this round
    low: Tensor  # the largest c that failed
    high: Tensor  # the smallest c that succeeded
    round: Tensor  # int64: rounds that are over
    steps: Tensor  # int64: steps done in this round
    found: Tensor  # bool: has this round found an example?
    objective: Tensor  # at the last check for progress

    @classmethod
    def start(cls, const: Tensor) -> ConstantSearch:
        """Return the search before the first step, with the first constants (B,)."""
        none = torch.zeros_like(const, dtype=torch.long)
        zero, infinite = torch.zeros_like(const), torch.full_like(const, torch.inf)
        return cls(const, zero, torch.full_like(const, LARGEST), none, none, none > 0, infinite)

    def objective_around(
        self, x: Tensor, confidence: float, distance: Callable[[Tensor], Tensor] | None = None
    ) -> Objective:
        """Return the objective above, a function of a verdict and the images (B, ...), around the inputs x.

        `distance`, where it is given, is of images (B, ...) from x, in the place of the squared L2 norm.
        """

        def objective(verdict: Verdict, images: Tensor) -> Tensor:
            size = (images - x).square().flatten(1).sum(1) if distance is None else distance(images)
            return size + self.const * (confidence - verdict.margin).clamp_min(0)

        return objective

    def after_step(
        self, found: Tensor, objective: Tensor, steps: int, abort_early: float
    ) -> tuple[ConstantSearch, Tensor]:
        """Return the search after one more step, and (B,) bool: which rows begin their next round.

        Args:
            found: (B,) bool, has the step found an example?
            objective: (B,) what is minimised.
            steps: a round's length at most.
            abort_early: ten times a round the progress is checked, and the round is abandoned if the objective is above
                this share of what it was at the last check.
        """
        done, found = self.steps + 1, self.found | found
        checked = done % max(1, steps // 10) == 0
        over = (checked & (objective > abort_early * self.objective)) | (done >= steps)
        objective = torch.where(checked, objective, self.objective)
        if not over.is_cuda and not bool(over.any()):  # the usual step; on a GPU this test would wait for the device
            return replace(self, steps=done, found=found, objective=objective), over
        high = torch.where(over & found, torch.minimum(self.high, self.const), self.high)
        low = torch.where(over & ~found, torch.maximum(self.low, self.const), self.low)
        const = torch.where(high < LARGEST, (low + high) / 2, (self.const * GROWTH).clamp(max=LARGEST))
        const, objective = torch.where(over, const, self.const), objective.masked_fill(over, torch.inf)
        return ConstantSearch(const, low, high, self.round + over, done * ~over, found & ~over, objective), over

    def is_over(self, binary_search_steps: int, tolerance: float) -> Tensor:
        """Return (B,) bool: are all rounds done, or is c known to this relative width?"""
        return (self.round >= binary_search_steps) | (self.high - self.low < tolerance * self.high)


def linear_constant(oracle: Gradients, confidence: float, factor: float, l1_weight: float = 0.0) -> Tensor:
    """Return `factor` times the c (B,) with which the attack would just succeed on a linear model: one gradient query.

    It is 2 * gap / |grad margin|_2^2 + l1_weight / |grad margin|_inf, gap = confidence - margin(x); 1 where the
    gradient is 0.
    """
    x = oracle.region.x
    answer = oracle.gradient(x, objective=margin_objective)
    gap = (confidence - answer.value).clamp_min(0)
    grad = oracle.region.masked(answer.grad).flatten(1)
    squares, peak = grad.square().sum(1), grad.abs().amax(1).clamp_min(tiny(x))
    const = factor * 2 * gap / squares.clamp_min(tiny(x)) + factor * l1_weight / peak
    return torch.where(squares > 0, const, 1.0).clamp(SMALLEST, LARGEST)
