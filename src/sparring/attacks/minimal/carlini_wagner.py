"""The L2 attack of Carlini & Wagner (2017, arXiv:1608.04644, sections V-B and VI-A).

    minimise  |x' - x|_2^2 + c * max(confidence - margin(x'), 0),   x' = (tanh(w) + 1) / 2

by Adam over w, with a search over c per row: times ten until the first success, then bisection. The last of ten or
more rounds tries the upper bound where nothing was found below it, as the authors' code does.

Departures: each row goes through its rounds at its own pace, so it may abandon one as soon as *its* objective stops
falling (the authors' abort_early looks at the whole batch). By default c starts from a linear estimate, rounds start
at the end of the last one, and a row stops when its c is known well enough: a smaller norm for less than half the
passes. CarliniWagner(initial_const=1e-3, warm_start=False, tolerance=0, abort_early=0.9999, steps=10_000) is the
paper's code.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Batch, Gradients, NonNegativeFloat, PositiveFloat, PositiveInt
from ...geometry import L2, Ball, rowwise
from ...geometry.region import Region
from ...perturbations import from_tanh, to_tanh
from ..adam import Adam
from ..minimum_norm import MinimumNormAttack
from .constant_search import ConstantSearch, linear_constant

CONST_FACTOR = 6.0  # of the linear estimate of c, since margins bend
REPEAT = 10  # from so many rounds on the last one tries the upper bound


@dataclass(frozen=True)
class CarliniWagnerState:
    """Each row's descent and its search over c."""

    w: Tensor  # (B, ...)
    adam: Adam
    search: ConstantSearch


@dataclass(frozen=True)
class CarliniWagner(MinimumNormAttack[Gradients, CarliniWagnerState]):
    """Find the smallest L2 norm by Adam on a penalised objective.

    Args:
        ball: L2; a finite eps asks for examples within it.
        binary_search_steps: the number of constants tried per row (9 in the paper's code).
        steps: Adam steps per constant at most (10,000 in the paper's code).
        learning_rate: Adam's step size in w (0.01 in the paper's code).
        confidence: the margin that an example must exceed to count.
        initial_const: the first c (1e-3 in the paper's code). None: 6 * 2 * gap / |grad gap|_2^2 of each row, six
            times what just succeeds on a linear model.
        warm_start: whether a round begins where the last one ended; False: at the image, as in the paper.
        tolerance: the relative width at which a row's c is known well enough; 0: all rounds, as in the paper.
        abort_early: a round is abandoned if the objective is above this share of its value a tenth of `steps` ago
            (0.9999 in the paper's code).
    """

    ball: Ball = L2()
    binary_search_steps: PositiveInt = 9
    steps: PositiveInt = 1000
    learning_rate: PositiveFloat = 0.01
    confidence: NonNegativeFloat = 0.0
    initial_const: PositiveFloat | None = None
    warm_start: bool = True
    tolerance: NonNegativeFloat = 0.3
    abort_early: PositiveFloat = 0.99

    norms: ClassVar[tuple[type[Ball], ...]] = (L2,)
    alternative: ClassVar[str] = "FMN"

    @property
    def total_steps(self) -> int:
        return self.binary_search_steps * self.steps

    def distance_from(self, images: Tensor, region: Region) -> Tensor:
        """Return what is minimised, (B,) of images (B, ...): their squared L2 distance from the inputs of `region`."""
        return (images - region.x).square().flatten(1).sum(1)

    def curvature(self, region: Region) -> Tensor | float:
        """Return what a small perturbation's squared L2 norm counts in `distance_from`: one number, or (B,)."""
        return 1.0

    def init(self, oracle: Gradients, batch: Batch) -> CarliniWagnerState:
        region, const = oracle.region, self.initial_const
        if const:
            first = torch.full_like(region.eps, const)
        else:
            first = linear_constant(oracle, self.confidence, CONST_FACTOR) * self.curvature(region)
        w = to_tanh(region.x, *region.range)
        return CarliniWagnerState(w, Adam.zeros_like(w), ConstantSearch.start(first))

    def step(self, oracle: Gradients, state: CarliniWagnerState, t: int) -> CarliniWagnerState:
        x, (low, high), search = oracle.region.x, oracle.region.range, state.search
        render, distance = partial(from_tanh, low=low, high=high), partial(self.distance_from, region=oracle.region)
        objective = search.objective_around(x, self.confidence, distance)
        answer = oracle.gradient(state.w, render=render, objective=objective)
        update, adam = state.adam.step(answer.grad, self.learning_rate, search.steps + 1)
        search, over = self._searched(search, answer.verdict.margin > self.confidence, answer.value)
        w = state.w - update
        if not self.warm_start:
            w = torch.where(rowwise(over, w), to_tanh(x, low, high), w)
        return CarliniWagnerState(w, adam.reset_(over), search)

    def _searched(self, search: ConstantSearch, found: Tensor, objective: Tensor) -> tuple[ConstantSearch, Tensor]:
        search, over = search.after_step(found, objective, self.steps, self.abort_early)
        if self.binary_search_steps >= REPEAT:
            last = over & (search.round + 1 == self.binary_search_steps)
            search = replace(search, const=torch.where(last, search.high, search.const))
        return search, over

    def done(self, state: CarliniWagnerState) -> Tensor:
        return state.search.is_over(self.binary_search_steps, self.tolerance)
