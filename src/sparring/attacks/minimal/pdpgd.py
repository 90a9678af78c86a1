"""Primal-dual proximal gradient descent, PDPGD (Matyasko & Chau 2021, arXiv:2106.01538).

    min over delta, max over lambda   lambda_0 |delta| + lambda_1 loss(x + delta),   lambda_0 + lambda_1 = 1
    delta = clip ( prox_{step_size_t w |.|} ( delta - step_size_t grad loss / |grad loss|_2 ) )
    log(lambda_0 / lambda_1) += dual_lr_t where the row succeeds, -= dual_lr_t where it does not

prox: soft threshold in L1, hard threshold in L0, shrinkage in L2, what the projection onto an L1 ball leaves in Linf.

Departures: the gradient is normalised, and w = lambda_0 / lambda_1 |grad|_dual / |grad|_2, so that the two sides
balance at equal lambdas on any model (the paper has Adam, whose metric leaves L2 and Linf without a closed prox, and no
scale); the loss is FMN's smooth margin, and the first step size its linear distance; in place of lambda's average over
steps the prox uses the log ratio five steps ahead; until a row has first succeeded its log ratio falls twice as fast.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Batch, Gradients, NonNegativeFloat, PositiveFloat, PositiveInt
from ...errors import ThreatError
from ...geometry import L0, L1, L2, Ball, Linf, rowwise, tiny, unit
from ...geometry.l2 import lengths
from ...perturbations import Additive
from ..minimum_norm import MinimumNormAttack
from .annealing import annealed_margin, cosine_decay, linear_step_size

FINAL_STEP_SIZE, FINAL_DUAL_LR = 0.01, 0.1  # of the first ones, at the last step
FIRST_LOG_RATIO, LARGEST_LOG_RATIO = -0.5, 14.0  # of the lambdas; the latter either way
FACTORS = {1.0: 2.0, 0.0: 3.0}  # of the first step by p of the norm, where the prox takes most of a step back
LOOKAHEAD = 5.0  # steps of the log ratio: without them delta and lambda circle each other


@dataclass(frozen=True)
class PDPGDState:
    """Each row's perturbation, and the weight of its norm; tensors are (B,) unless they say otherwise."""

    delta: Tensor  # (B, ...)
    log_ratio: Tensor  # log(lambda_0 / lambda_1)
    found: Tensor  # bool: has the row succeeded?
    step_size: Tensor  # the first one
    gap: Tensor  # at the image


@dataclass(frozen=True)
class PDPGD(MinimumNormAttack[Gradients, PDPGDState]):
    """Find the smallest norm in Linf, L2, L1 or L0 by a descent in delta and an ascent in the weight of the norm.

    Args:
        ball: the norm, L0 in components; a finite eps asks for examples within it.
        steps: gradient steps (500 in the paper's code).
        dual_lr: the first change of log(lambda_0 / lambda_1) per step (0.1 in the paper's code, falling to a tenth as
            there).
        temperature: the first temperature of the margin, as a share of the gap at the image; 0: the margin itself.

    Raises:
        ThreatError: for L0 in pixels.
    """

    ball: Ball
    steps: PositiveInt = 500
    dual_lr: PositiveFloat = 0.1
    temperature: NonNegativeFloat = 0.2

    norms: ClassVar[tuple[type[Ball], ...]] = (Linf, L2, L1, L0)
    alternative: ClassVar[str] = "FMN"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ball.grouped:
            raise ThreatError(f"PDPGD knows Linf, L2, L1 and L0 of components, not {self.ball}; use FMN there")

    def init(self, oracle: Gradients, batch: Batch) -> PDPGDState:
        zero = torch.zeros_like(oracle.region.eps)
        return PDPGDState(torch.zeros_like(oracle.region.x), zero + FIRST_LOG_RATIO, zero > 0, zero, zero)

    def step(self, oracle: Gradients, state: PDPGDState, t: int) -> PDPGDState:
        region, fraction = oracle.region, cosine_decay(t, self.steps)
        loss = annealed_margin(state.gap, self.temperature, t, self.steps)
        answer = oracle.gradient(state.delta, render=Additive(region.x), loss=loss)
        grad = region.masked(answer.grad)
        length, dual = (size.clamp_min(tiny(grad)) for size in (lengths(grad), region.dual_norm(grad)))
        if t == 0:
            gap = answer.verdict.margin.abs()
            first = linear_step_size(region, gap / dual * FACTORS.get(region.ball.p, 1.0))
            state = replace(state, gap=gap, step_size=first)
        success = answer.verdict.margin > 0
        found = state.found | success
        step_size = state.step_size * (FINAL_STEP_SIZE + (1 - FINAL_STEP_SIZE) * fraction)
        moved = state.delta + unit(grad) * rowwise(step_size, grad)
        dual_lr = self.dual_lr * (1 - (1 - FINAL_DUAL_LR) * t / self.steps)
        change = torch.where(success, dual_lr, torch.where(found, -dual_lr, -2 * dual_lr))
        log_ratio = (state.log_ratio + change).clamp_(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO)
        delta = region.ball.prox(moved, step_size * (log_ratio + LOOKAHEAD * change).exp() * dual / length)
        delta = region.clamp_(delta.add_(region.x)).sub_(region.x)
        return replace(state, delta=delta, log_ratio=log_ratio, found=found)

    def finish(self, oracle: Gradients, state: PDPGDState) -> None:
        oracle.score(oracle.region.x + state.delta)
