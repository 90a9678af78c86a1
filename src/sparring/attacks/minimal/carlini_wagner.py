"""The L2 attack of Carlini & Wagner (2017, arXiv:1608.04644, sections V-B and VI-A).

    minimise  |x' - x|_2^2 + c * max(confidence - margin(x'), 0),   x' = (tanh(w) + 1) / 2

by Adam over w, with a search over c per row: times ten until the first success, then bisection. The last
round tries the upper bound where nothing was found below it, as the authors' code does.

Departures: each row goes through its rounds at its own pace, so it may abandon one as soon as *its* objective
stops falling (the authors' abort_early looks at the whole batch). By default c starts from a linear estimate,
rounds start warm, and a row stops when its c is known well enough: a smaller norm for less than half the
passes. CarliniWagner(c=1e-3, warm_start=False, tolerance=0, stalled=0.9999, inner=10_000) is the paper's code.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Attack, Batch, Gradients, Keep, margin_objective
from ...errors import ConfigError
from ...geometry import L2, Ball, rowwise
from ...goals import Verdict
from ...perturbations import from_tanh, to_tanh
from .constant import LARGEST, Constant

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # Adam
SPARE = 6.0  # above the linear estimate of c, since margins bend


@dataclass(frozen=True)
class Descent:
    """One row's descent and its search over c."""

    w: Tensor
    mean: Tensor  # Adam's first and second moments
    square: Tensor
    search: Constant


@dataclass(frozen=True)
class CarliniWagner(Attack[Gradients, Descent]):
    """Minimum L2 norm through the tanh box.

    Args:
        rounds: values of c tried per row (9 in the paper's code).
        inner: Adam steps per round at most (10,000 in the paper's code; it looks for progress ten times).
        rate: Adam's step size in w.
        confidence: the margin that an example must exceed to count.
        c: the first constant (1e-3 in the paper's code). None: 2 * gap / |grad gap|_2^2 of each row, with which
            the attack would just succeed on a linear model.
        warm_start: begin each round where the last one ended; False: at the image, as the paper does.
        tolerance: a row is done when c is known to this relative width; 0: all rounds, as the paper does.
        stalled: a round is abandoned when the objective is above this share of its value at the last look
            (0.9999 in the paper's code).
        ball: L2; a finite eps asks for examples within it.
    """

    rounds: int = 9
    inner: int = 1000
    rate: float = 0.01
    confidence: float = 0.0
    c: float | None = None
    warm_start: bool = True
    tolerance: float = 0.3
    stalled: float = 0.99
    ball: Ball = L2()

    norms: ClassVar[tuple[type[Ball], ...]] = (L2,)
    elsewhere: ClassVar[str] = "FMN"
    regional: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rounds < 1 or self.inner < 1:
            raise ConfigError(f"CarliniWagner rounds={self.rounds}, inner={self.inner}; pass numbers >= 1")
        if not self.confidence >= 0:
            raise ConfigError(f"CarliniWagner confidence={self.confidence}; pass a margin >= 0")

    @property
    def keep(self) -> Keep:
        return Keep.SMALLEST

    @property
    def total_steps(self) -> int:
        return self.rounds * self.inner

    def init(self, oracle: Gradients, batch: Batch) -> Descent:
        region = oracle.region
        c = self._linear_c(oracle) if self.c is None else torch.full_like(region.eps, self.c)
        w, still = to_tanh(region.x, *region.range), torch.zeros_like(region.x)
        return Descent(w, still, still, Constant.starting(c))

    def _linear_c(self, oracle: Gradients) -> Tensor:
        answer = oracle.gradient(oracle.region.x, objective=margin_objective)
        gap = (self.confidence - answer.value).clamp_min(0)
        slope = oracle.region.masked(answer.grad).flatten(1).square().sum(1)
        return torch.where(slope > 0, SPARE * 2 * gap / slope, 1.0).clamp(1e-6, LARGEST)

    def step(self, oracle: Gradients, state: Descent, t: int) -> Descent:
        region = oracle.region
        low, high = region.range

        def price(verdict: Verdict, images: Tensor) -> Tensor:
            distance = (images - region.x).square().flatten(1).sum(1)
            return distance + state.search.c * (self.confidence - verdict.margin).clamp_min(0)

        answer = oracle.gradient(state.w, render=partial(from_tanh, low=low, high=high), objective=price)
        inner = state.search.inner + 1
        mean = state.mean.lerp(answer.grad, 1 - BETA1)
        square = (state.square * BETA2).addcmul_(answer.grad, answer.grad, value=1 - BETA2)
        scale = self.rate / (1 - BETA1 ** inner.to(mean.dtype))
        root = (square / rowwise(1 - BETA2 ** inner.to(mean.dtype), square)).sqrt_().add_(EPSILON)
        w = state.w - mean / root * rowwise(scale, mean)
        search, over = self._searched(state.search, answer.verdict.margin > self.confidence, answer.value)
        fresh = rowwise(over, w)
        w = w if self.warm_start else torch.where(fresh, to_tanh(region.x, low, high), w)
        return Descent(w, mean.masked_fill_(fresh, 0), square.masked_fill_(fresh, 0), search)

    def _searched(self, search: Constant, hit: Tensor, value: Tensor) -> tuple[Constant, Tensor]:
        search, over = search.after(hit, value, self.inner, self.stalled)
        if self.rounds < 10:
            return search, over
        last = over & (search.round + 1 == self.rounds)
        return replace(search, c=torch.where(last, search.high, search.c)), over

    def done(self, state: Descent) -> Tensor:
        return state.search.known(self.rounds, self.tolerance)
