"""The elastic-net attack (Chen et al. 2018, arXiv:1709.04114, algorithm 1).

    minimise  |x' - x|_2^2 + beta |x' - x|_1 + c * max(confidence - margin(x'), 0)

    x_{k+1} = S ( y_k - rate_k * grad g(y_k) )               g: the objective without its L1 term
    y_{k+1} = x_{k+1} + k / (k + 3) * (x_{k+1} - x_k)        rate_k = rate * sqrt(1 - k / inner)

S shrinks each component of the perturbation and keeps it in the valid range; c is searched for per row, times ten
until the first success, then bisection. The decision rule says which example is kept: EN the smallest
|d|_2^2 + beta |d|_1, L1 the smallest |d|_1.

Departures: with the rule L1 the shrinkage is beta, as in the paper, which weighs the L1 norm 1 / rate_k times more
than the objective does; with the rule EN it is rate_k * beta, the step that minimises the objective. Only y_k, kept in
the valid range, is asked about, where the authors' code also asks about x_k: a third fewer passes. c starts from a
linear estimate, rounds start warm and end row by row, and a row stops when its c is known well enough, as in
`CarliniWagner`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Attack, Batch, Gradients, Keep, margin_objective
from ...errors import ConfigError
from ...geometry import L1, L2, Ball, rowwise, tiny
from ...goals import Verdict
from .constant import LARGEST, Constant

SPARE = 2.0  # above the linear estimate of c


class Rule(Enum):
    """What the smallest example is smallest in."""

    EN = "EN"  # the elastic net
    L1 = "L1"


@dataclass(frozen=True)
class Shrinkage:
    """One row's accelerated proximal descent, and its search over c."""

    image: Tensor  # x_k
    ahead: Tensor  # y_k
    constant: Constant


@dataclass(frozen=True)
class EAD(Attack[Gradients, Shrinkage]):
    """Minimum elastic-net or L1 distance.

    Args:
        beta: weight of the L1 norm (1e-3 in the paper's comparisons; 1e-2 is sparser).
        rule: Rule.EN or Rule.L1.
        rounds: values of c tried per row (9 in the paper).
        inner: steps per round at most (1000 in the paper).
        rate: the first step size (0.01 in the paper).
        confidence: the margin that an example must exceed to count.
        c: the first constant (1e-3 in the paper); None: what a linear model would need, per row.
        warm_start: begin each round where the last one ended; False: at the image, as the paper does.
        tolerance: a row is done when c is known to this relative width; 0: all rounds, as the paper does.
        stalled: a round is abandoned when the objective is above this share of its value a tenth of `inner` ago
            (0.9999 in the paper's code).
        ball: L1 or L2, the norm that sizes are reported in; a finite eps asks for examples within it.
    """

    beta: float = 1e-3
    rule: Rule = Rule.EN
    rounds: int = 9
    inner: int = 1000
    rate: float = 0.01
    confidence: float = 0.0
    c: float | None = None
    warm_start: bool = True
    tolerance: float = 0.3
    stalled: float = 0.99
    ball: Ball = field(default_factory=L1)

    norms: ClassVar[tuple[type[Ball], ...]] = (L1, L2)
    elsewhere: ClassVar[str] = "FMN"
    regional: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.rule, Rule):
            raise ConfigError(f"EAD rule={self.rule!r}; pass Rule.EN or Rule.L1")
        if self.rounds < 1 or self.inner < 1:
            raise ConfigError(f"EAD rounds={self.rounds}, inner={self.inner}; pass numbers >= 1")
        if not (self.beta >= 0 and self.rate > 0 and self.confidence >= 0 and (self.c is None or self.c > 0)):
            raise ConfigError(
                f"EAD beta={self.beta}, rate={self.rate}, confidence={self.confidence}, c={self.c}; "
                "pass rate and c > 0, beta and confidence >= 0"
            )

    @property
    def keep(self) -> Keep:
        return Keep.SMALLEST

    @property
    def total_steps(self) -> int:
        return self.rounds * self.inner

    def measure(self, delta: Tensor, ball: Ball) -> Tensor:
        size = delta.abs().flatten(1).sum(1)
        return size if self.rule is Rule.L1 else delta.square().flatten(1).sum(1) + self.beta * size

    def init(self, oracle: Gradients, batch: Batch) -> Shrinkage:
        region = oracle.region
        c = self._linear_c(oracle) if self.c is None else torch.full_like(region.eps, self.c)
        return Shrinkage(region.x, region.x, Constant.starting(c))

    def _linear_c(self, oracle: Gradients) -> Tensor:
        x = oracle.region.x
        answer = oracle.gradient(x, objective=margin_objective)
        gap = (self.confidence - answer.value).clamp_min(0)
        slope = oracle.region.masked(answer.grad).flatten(1)
        squares, peak = slope.square().sum(1), slope.abs().amax(1).clamp_min(tiny(x))
        weight = self.beta / self.rate if self.rule is Rule.L1 else self.beta
        estimate = 2 * gap / squares.clamp_min(tiny(x)) + weight / peak
        return torch.where(squares > 0, SPARE * estimate, 1.0).clamp(1e-6, LARGEST)

    def step(self, oracle: Gradients, state: Shrinkage, t: int) -> Shrinkage:
        region, x, search = oracle.region, oracle.region.x, state.constant

        def price(verdict: Verdict, images: Tensor) -> Tensor:
            distance = (images - x).square().flatten(1).sum(1)
            return distance + search.c * (self.confidence - verdict.margin).clamp_min(0)

        answer = oracle.gradient(state.ahead, objective=price)
        inner = search.inner.to(x.dtype)
        rate = self.rate * (1 - inner / self.inner).sqrt()
        shrinkage = self.beta * (torch.ones_like(rate) if self.rule is Rule.L1 else rate)
        moved = state.ahead - x - answer.grad * rowwise(rate, x)
        shrunk = moved.sign() * (moved.abs() - rowwise(shrinkage, x)).clamp_min_(0)
        image = region.clamp_(x + shrunk)
        ahead = region.clamp_(image + (image - state.image) * rowwise(inner / (inner + 3), x))
        value = answer.value + self.beta * (state.ahead - x).abs().flatten(1).sum(1)
        hit = answer.verdict.margin > self.confidence
        search, over = search.after(hit, value, self.inner, self.stalled)
        over, start = rowwise(over, x), image if self.warm_start else x
        return Shrinkage(torch.where(over, start, image), torch.where(over, start, ahead), search)

    def done(self, state: Shrinkage) -> Tensor:
        return state.constant.known(self.rounds, self.tolerance)

    def finish(self, oracle: Gradients, state: Shrinkage) -> None:
        oracle.score(state.image)
