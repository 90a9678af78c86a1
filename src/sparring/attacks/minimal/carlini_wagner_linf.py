"""The Linf attack of Carlini & Wagner (2017, arXiv:1608.04644, section VI-C).

    minimise  sum_i max(|x'_i - x_i| - tau, 0) + c * max(confidence - margin(x'), 0)

by Adam, with tau = 0.9 of the smallest norm found so far. A row that finds no smaller one for `patience` steps changes
its c: up where no step succeeded, down where one did and the penalty lost.

Departures: tau falls with every better example and not after a whole descent; at each vain `patience` the step and the
distance of tau to the best norm shrink, and a row ends where that distance is below `tolerance`. c starts where it
outweighs the penalty in no component (1e-5 in the paper's code). Adam works on the image itself, clipped (the paper's
second way to keep the box: through tanh black and white pixels hardly move), its step is a share of the norm, and its
beta_1 is 0.5, since the penalty changes with tau.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Batch, Gradients, NonNegativeFloat, OpenFraction, PositiveFloat, PositiveInt, margin_objective
from ...geometry import Ball, Linf, rowwise, tiny
from ...goals import Verdict
from ..adam import Adam
from ..minimum_norm import MinimumNormAttack

BETA1, EPSILON = 0.5, 1e-12  # of Adam
SLOWER, CONST_FACTOR = 0.7, 2.0  # what a vain `patience` does to the step, and to c
SHORTEST, LONGEST = 1e-4, 0.5  # the linear distance to the boundary as the first norm, in units of the inputs' scale


@dataclass(frozen=True)
class CarliniWagnerLinfState:
    """Each row's descent against a penalty beyond tau; tensors are (B,) unless they say otherwise."""

    image: Tensor  # (B, ...)
    adam: Adam
    steps: Tensor  # int64
    const: Tensor  # c
    size: Tensor  # the norm that steps are a share of, until an example is found
    best: Tensor  # the smallest norm of an example
    idle: Tensor  # int64: steps since the last better example or change of c
    succeeded: Tensor  # bool: has one of them succeeded?
    failures: Tensor  # int64: how often `patience` ran out


@dataclass(frozen=True)
class CarliniWagnerLinf(MinimumNormAttack[Gradients, CarliniWagnerLinfState]):
    """Find the smallest Linf norm by a penalty on what exceeds tau.

    Args:
        ball: Linf; a finite eps asks for examples within it.
        steps: gradient steps at most; rows end before.
        patience: steps without a better example before c changes.
        learning_rate: Adam's first step size, in shares of the norm (0.01 in w in the paper's code).
        decrease_factor: tau in shares of the smallest norm found (0.9 in the paper).
        confidence: the margin that an example must exceed to count.
        initial_const: the first c; None: 1 / |grad margin|_inf of each row.
        tolerance: a row is done when tau is nearer to its best norm than this, in shares of it.
    """

    ball: Ball = field(default_factory=Linf)
    steps: PositiveInt = 1000
    patience: PositiveInt = 10
    learning_rate: PositiveFloat = 0.1
    decrease_factor: OpenFraction = 0.9
    confidence: NonNegativeFloat = 0.0
    initial_const: PositiveFloat | None = None
    tolerance: NonNegativeFloat = 0.005

    norms: ClassVar[tuple[type[Ball], ...]] = (Linf,)
    alternative: ClassVar[str] = "CarliniWagner or CarliniWagnerL0"

    def init(self, oracle: Gradients, batch: Batch) -> CarliniWagnerLinfState:
        region, x, none = oracle.region, oracle.region.x, torch.zeros_like(oracle.key.indices)
        zero, scale = torch.zeros_like(region.eps), region.inputs.scale
        answer = oracle.gradient(x, objective=margin_objective)
        slope = region.masked(answer.grad).abs().flatten(1)
        const = 1 / slope.amax(1).clamp_min(tiny(x)) if self.initial_const is None else zero + self.initial_const
        size = (self.confidence - answer.value) / slope.sum(1).clamp_min(tiny(x))
        size = size.clamp(SHORTEST * scale, LONGEST * scale)
        adam, best = Adam.zeros_like(x), zero + torch.inf
        return CarliniWagnerLinfState(x, adam, none, const, size, best, none, none > 0, none)

    def step(self, oracle: Gradients, state: CarliniWagnerLinfState, t: int) -> CarliniWagnerLinfState:
        region, x, slower = oracle.region, oracle.region.x, SLOWER**state.failures
        tau = state.best * (1 - (1 - self.decrease_factor) * slower)

        def objective(verdict: Verdict, images: Tensor) -> Tensor:
            excess = ((images - x).abs() - rowwise(tau, x)).clamp_min(0).flatten(1).sum(1)
            return excess + state.const * (self.confidence - verdict.margin).clamp_min(0)

        answer = oracle.gradient(state.image, objective=objective)
        norm, found = region.norm(answer.images - x), answer.verdict.margin > self.confidence
        better = found & (norm < state.best)
        best, size = torch.where(better, norm, state.best), torch.maximum(norm, state.size)
        step_size = self.learning_rate * slower * torch.where(best.isfinite(), best, size)
        steps = state.steps + 1
        update, adam = state.adam.step(answer.grad, step_size, steps, beta1=BETA1, epsilon=EPSILON)
        idle = torch.where(better, 0, state.idle + 1)
        succeeded = (found | state.succeeded) & ~better
        vain = (idle >= self.patience) & best.isfinite()
        const = torch.where(vain, state.const * torch.where(succeeded, 1 / CONST_FACTOR, CONST_FACTOR), state.const)
        return CarliniWagnerLinfState(
            region.clamp_(state.image - update),
            adam,
            steps,
            const,
            size,
            best,
            idle=idle * ~vain,
            succeeded=succeeded & ~vain,
            failures=state.failures + vain,
        )

    def done(self, state: CarliniWagnerLinfState) -> Tensor:
        return (1 - self.decrease_factor) * SLOWER**state.failures < self.tolerance

    def finish(self, oracle: Gradients, state: CarliniWagnerLinfState) -> None:
        oracle.score(state.image)
