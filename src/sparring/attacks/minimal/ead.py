"""The elastic-net attack (Chen et al. 2018, arXiv:1709.04114, algorithm 1).

    minimise  |x' - x|_2^2 + beta |x' - x|_1 + c * max(confidence - margin(x'), 0)

    x_{k+1} = S ( y_k - rate_k * grad g(y_k) )               g: the objective without its L1 term
    y_{k+1} = x_{k+1} + k / (k + 3) * (x_{k+1} - x_k)        rate_k = learning_rate * sqrt(1 - k / steps)

S shrinks each component of the perturbation and keeps it in the valid range; c is searched for per row, times ten
until the first success, then bisection. The decision rule says which example is kept: EN the smallest
|d|_2^2 + beta |d|_1, L1 the smallest |d|_1.

Departures: with the rule L1 the shrinkage is beta, as in the paper, which weighs the L1 norm 1 / rate_k times more
than the objective does; with the rule EN it is rate_k * beta, the step that minimises the objective. Only y_k, kept in
the valid range, is asked about, where the authors' code also asks about x_k: a third fewer passes. c starts from a
linear estimate, rounds start at the end of the last one and end row by row, and a row stops when its c is known well
enough, as in `CarliniWagner`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Batch, Gradients, NonNegativeFloat, PositiveFloat, PositiveInt
from ...errors import ConfigError
from ...geometry import L1, L2, Ball, rowwise
from ...geometry.region import Region
from ..minimum_norm import MinimumNormAttack
from .constant_search import ConstantSearch, linear_constant

CONST_FACTOR = 2.0  # of the linear estimate of c


class DecisionRule(Enum):
    """The distance in which the example that EAD keeps is the smallest."""

    EN = "EN"  # the elastic net, |d|_2^2 + beta |d|_1
    L1 = "L1"  # |d|_1


@dataclass(frozen=True)
class EADState:
    """Each row's accelerated proximal descent, and its search over c."""

    image: Tensor  # (B, ...) x_k
    extrapolated: Tensor  # (B, ...) y_k
    search: ConstantSearch


@dataclass(frozen=True)
class EAD(MinimumNormAttack[Gradients, EADState]):
    """Find the smallest elastic-net or L1 distance by an accelerated proximal descent (FISTA).

    Args:
        ball: L1 or L2, the norm that sizes are reported in; a finite eps asks for examples within it.
        beta: the weight of the L1 norm (1e-3 in the paper's comparisons; 1e-2 is sparser).
        decision_rule: DecisionRule.EN or DecisionRule.L1.
        binary_search_steps: the number of constants tried per row (9 in the paper).
        steps: gradient steps per constant at most (1000 in the paper).
        learning_rate: the first step size, in units of the inputs (0.01 in the paper).
        confidence: the margin that an example must exceed to count.
        initial_const: the first c (1e-3 in the paper); None: twice what a linear model would need, per row.
        warm_start: whether a round begins where the last one ended; False: at the image, as in the paper.
        tolerance: the relative width at which a row's c is known well enough; 0: all rounds, as in the paper.
        abort_early: a round is abandoned if the objective is above this share of its value a tenth of `steps` ago
            (0.9999 in the paper's code).

    Raises:
        ConfigError: for a decision rule that is none.
    """

    ball: Ball = field(default_factory=L1)
    beta: NonNegativeFloat = 1e-3
    decision_rule: DecisionRule = DecisionRule.EN
    binary_search_steps: PositiveInt = 9
    steps: PositiveInt = 1000
    learning_rate: PositiveFloat = 0.01
    confidence: NonNegativeFloat = 0.0
    initial_const: PositiveFloat | None = None
    warm_start: bool = True
    tolerance: NonNegativeFloat = 0.3
    abort_early: PositiveFloat = 0.99

    norms: ClassVar[tuple[type[Ball], ...]] = (L1, L2)
    alternative: ClassVar[str] = "FMN"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.decision_rule, DecisionRule):
            raise ConfigError(f"EAD decision_rule={self.decision_rule!r}; pass DecisionRule.EN or DecisionRule.L1")

    @property
    def total_steps(self) -> int:
        return self.binary_search_steps * self.steps

    def measure(self, delta: Tensor, region: Region) -> Tensor:
        size = delta.abs().flatten(1).sum(1)
        by_l1 = self.decision_rule is DecisionRule.L1
        return size if by_l1 else delta.square().flatten(1).sum(1) + self.beta * size

    def init(self, oracle: Gradients, batch: Batch) -> EADState:
        region, const = oracle.region, self.initial_const
        if const is None:
            weight = self.beta / self.learning_rate if self.decision_rule is DecisionRule.L1 else self.beta
            first = linear_constant(oracle, self.confidence, CONST_FACTOR, weight)
        else:
            first = torch.full_like(region.eps, const)
        return EADState(region.x, region.x, ConstantSearch.start(first))

    def step(self, oracle: Gradients, state: EADState, t: int) -> EADState:
        region, x, search = oracle.region, oracle.region.x, state.search
        answer = oracle.gradient(state.extrapolated, objective=search.objective_around(x, self.confidence))
        k = search.steps.to(x.dtype)
        rate = self.learning_rate * (1 - k / self.steps).sqrt()
        shrinkage = self.beta * (torch.ones_like(rate) if self.decision_rule is DecisionRule.L1 else rate)
        moved = state.extrapolated - x - answer.grad * rowwise(rate, x)
        shrunk = moved.sign() * (moved.abs() - rowwise(shrinkage, x)).clamp_min_(0)
        image = region.clamp_(x + shrunk)
        extrapolated = region.clamp_(image + (image - state.image) * rowwise(k / (k + 3), x))
        objective = answer.value + self.beta * (state.extrapolated - x).abs().flatten(1).sum(1)
        found = answer.verdict.margin > self.confidence
        search, over = search.after_step(found, objective, self.steps, self.abort_early)
        over, start = rowwise(over, x), image if self.warm_start else x
        return EADState(torch.where(over, start, image), torch.where(over, start, extrapolated), search)

    def done(self, state: EADState) -> Tensor:
        return state.search.is_over(self.binary_search_steps, self.tolerance)

    def finish(self, oracle: Gradients, state: EADState) -> None:
        oracle.score(state.image)
