"""The Linf attack of Carlini & Wagner (2017, arXiv:1608.04644, section VI-C).

    minimise  sum_i max(|x'_i - x_i| - tau, 0) + c * max(confidence - margin(x'), 0)

by Adam, with tau = 0.9 of the smallest norm found so far. A row that finds no smaller one for `patience` steps changes
its c: up where it never got across, down where it did and the penalty lost.

Departures: tau falls with every better example and not after a whole descent; at each vain `patience` the step and the
distance of tau to the best norm shrink, and a row ends where that distance is below `tolerance`. c starts where it
outweighs the penalty in no component (1e-5 in the paper's code). Adam works on the image itself, clipped (the paper's
second way to keep the box: through tanh black and white pixels hardly move), its step is a share of the norm, and its
beta_1 is 0.5, since the penalty is a moving wall.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Attack, Batch, Gradients, Keep, margin_objective
from ...errors import ConfigError
from ...geometry import Ball, Linf, rowwise, tiny
from ...goals import Verdict

BETA1, BETA2, EPSILON = 0.5, 0.999, 1e-12  # Adam
SLOWER, GROWTH = 0.7, 2.0  # what a vain `patience` does to the step, and to c


@dataclass(frozen=True)
class Squeeze:
    """One row's descent against a wall at tau that follows it."""

    image: Tensor
    mean: Tensor  # Adam's first and second moments
    square: Tensor
    taken: Tensor  # steps
    c: Tensor
    scale: Tensor  # the norm that steps are a share of, until an example is found
    best: Tensor  # smallest norm that won
    idle: Tensor  # steps since the last better example or change of c
    crossed: Tensor  # has one of them been across?
    fails: Tensor  # how often `patience` ran out


@dataclass(frozen=True)
class CarliniWagnerLinf(Attack[Gradients, Squeeze]):
    """Minimum Linf norm by a penalty on what exceeds tau.

    Args:
        steps: gradient steps at most; rows end before.
        patience: steps without a better example before c changes.
        rate: Adam's first step size, in shares of the norm (0.01 in w in the paper's code).
        factor: tau in shares of the smallest norm found (0.9 in the paper).
        confidence: the margin that an example must exceed to count.
        c: the first constant; None: 1 / |grad margin|_inf of each row.
        tolerance: a row is done when tau is nearer to its best norm than this, in shares of it.
        ball: Linf; a finite eps asks for examples within it.
    """

    steps: int = 1000
    patience: int = 10
    rate: float = 0.1
    factor: float = 0.9
    confidence: float = 0.0
    c: float | None = None
    tolerance: float = 0.005
    ball: Ball = field(default_factory=Linf)

    norms: ClassVar[tuple[type[Ball], ...]] = (Linf,)
    elsewhere: ClassVar[str] = "CarliniWagner or CarliniWagnerL0"
    regional: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1 or self.patience < 1 or not 0 < self.factor < 1:
            raise ConfigError(
                f"CarliniWagnerLinf steps={self.steps}, patience={self.patience}, factor={self.factor}; "
                "pass steps and patience >= 1, and a factor in (0, 1)"
            )
        if not (self.rate > 0 and self.confidence >= 0 and self.tolerance >= 0 and (self.c is None or self.c > 0)):
            raise ConfigError(
                f"CarliniWagnerLinf rate={self.rate}, confidence={self.confidence}, c={self.c}, "
                f"tolerance={self.tolerance}; pass rate and c > 0, margin and tolerance >= 0"
            )

    @property
    def keep(self) -> Keep:
        return Keep.SMALLEST

    def init(self, oracle: Gradients, batch: Batch) -> Squeeze:
        region, x, none = oracle.region, oracle.region.x, torch.zeros_like(oracle.key.indices)
        still, zero, scale = torch.zeros_like(x), torch.zeros_like(region.eps), region.inputs.scale
        answer = oracle.gradient(x, objective=margin_objective)
        slope = region.masked(answer.grad).abs().flatten(1)
        c = 1 / slope.amax(1).clamp_min(tiny(x)) if self.c is None else zero + self.c
        linear = (self.confidence - answer.value) / slope.sum(1).clamp_min(tiny(x))
        linear = linear.clamp(1e-4 * scale, 0.5 * scale)
        return Squeeze(x, still, still, none, c, linear, zero + torch.inf, none, none > 0, none)

    def step(self, oracle: Gradients, state: Squeeze, t: int) -> Squeeze:
        region, x, slower = oracle.region, oracle.region.x, SLOWER**state.fails
        tau = state.best * (1 - (1 - self.factor) * slower)

        def price(verdict: Verdict, images: Tensor) -> Tensor:
            excess = ((images - x).abs() - rowwise(tau, x)).clamp_min(0).flatten(1).sum(1)
            return excess + state.c * (self.confidence - verdict.margin).clamp_min(0)

        answer = oracle.gradient(state.image, objective=price)
        norm, across = region.norm(answer.images - x), answer.verdict.margin > self.confidence
        better = across & (norm < state.best)
        best = torch.where(better, norm, state.best)
        taken = state.taken + 1
        mean = state.mean.lerp(answer.grad, 1 - BETA1)
        square = (state.square * BETA2).addcmul_(answer.grad, answer.grad, value=1 - BETA2)
        scale = torch.maximum(norm, state.scale)
        stride = self.rate * slower * torch.where(best.isfinite(), best, scale)
        root = (square / rowwise(1 - BETA2 ** taken.to(x.dtype), x)).sqrt_().add_(EPSILON)
        image = region.clamp_(state.image - mean / root * rowwise(stride / (1 - BETA1 ** taken.to(x.dtype)), x))
        idle = torch.where(better, 0, state.idle + 1)
        crossed = (across | state.crossed) & ~better
        vain = (idle >= self.patience) & best.isfinite()
        c = torch.where(vain, state.c * torch.where(crossed, 1 / GROWTH, GROWTH), state.c)
        return Squeeze(image, mean, square, taken, c, scale, best, idle * ~vain, crossed & ~vain, state.fails + vain)

    def done(self, state: Squeeze) -> Tensor:
        return (1 - self.factor) * SLOWER**state.fails < self.tolerance

    def finish(self, oracle: Gradients, state: Squeeze) -> None:
        oracle.score(state.image)
