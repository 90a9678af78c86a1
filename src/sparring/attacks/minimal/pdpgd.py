"""Primal-dual proximal gradient descent, PDPGD (Matyasko & Chau 2021, arXiv:2106.01538).

    min over delta, max over lambda   lambda_0 |delta| + lambda_1 loss(x + delta),   lambda_0 + lambda_1 = 1
    delta = clip ( prox_{rate_t w |.|} ( delta - rate_t grad loss / |grad loss|_2 ) )
    log(lambda_0 / lambda_1) += dual_t where the row is across, -= dual_t where it is not

prox: soft threshold in L1, hard threshold in L0, shrinkage in L2, what the projection onto an L1 ball leaves in Linf.

Departures: the gradient is normalised, and w = lambda_0 / lambda_1 |grad|_dual / |grad|_2, so that the two sides
balance at equal lambdas on any model (the paper has Adam, whose metric leaves L2 and Linf without a closed prox, and no
scale); the loss is FMN's smooth margin, and the first rate its linear distance; in place of lambda's average over steps
the prox uses the price five moves ahead; until a row has first been across its price moves twice as fast.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Attack, Batch, Gradients, Keep
from ...errors import ConfigError, ThreatError
from ...geometry import L0, L1, L2, Ball, Linf, rowwise, tiny
from ...geometry.l2 import lengths
from ...goals import Margin, SmoothMargin
from ...perturbations import Additive
from .fmn import shortest

FINAL_RATE, FINAL_DUAL = 0.01, 0.1  # of the first ones, at the last step
PRICE, STEEPEST_PRICE = -0.5, 14.0  # log(lambda_0 / lambda_1) at first, and at most either way
LONGER = {1.0: 2.0, 0.0: 3.0}  # the first step by p of the norm, where the prox takes most of a step back
AHEAD = 5.0  # moves of the price that the prox looks ahead: without them the two players circle each other


@dataclass(frozen=True)
class Game:
    """A perturbation, and the price of its norm."""

    delta: Tensor
    price: Tensor  # log(lambda_0 / lambda_1)
    found: Tensor  # has the row been across?
    rate: Tensor
    gap: Tensor  # at the image


@dataclass(frozen=True)
class PDPGD(Attack[Gradients, Game]):
    """Minimum norm in Linf, L2, L1 or L0 at a fixed number of passes.

    Args:
        ball: the norm, L0 in components; a finite eps asks for examples within it.
        steps: gradient steps (500 in the paper's code).
        dual: how far the log of the price moves per step (0.1 in the paper's code, falling to a tenth as there).
        smooth: the first temperature of the margin, as a share of the gap at the image; 0: the margin itself.
    """

    ball: Ball
    steps: int = 500
    dual: float = 0.1
    smooth: float = 0.2

    norms: ClassVar[tuple[type[Ball], ...]] = (Linf, L2, L1, L0)
    elsewhere: ClassVar[str] = "FMN"
    regional: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ball.grouped:
            raise ThreatError(f"PDPGD knows Linf, L2, L1 and L0 of components, not {self.ball}; use FMN there")
        if self.steps < 1 or not self.dual > 0 or not self.smooth >= 0:
            raise ConfigError(
                f"PDPGD steps={self.steps}, dual={self.dual}, smooth={self.smooth}; "
                "pass steps >= 1, dual > 0 and smooth >= 0"
            )

    @property
    def keep(self) -> Keep:
        return Keep.SMALLEST

    def init(self, oracle: Gradients, batch: Batch) -> Game:
        zero = torch.zeros_like(oracle.region.eps)
        return Game(torch.zeros_like(oracle.region.x), zero + PRICE, zero > 0, zero, zero)

    def step(self, oracle: Gradients, state: Game, t: int) -> Game:
        region = oracle.region
        fraction = (1 + math.cos(math.pi * t / self.steps)) / 2
        loss = SmoothMargin(state.gap * (self.smooth * fraction)) if t and self.smooth else Margin()
        answer = oracle.gradient(state.delta, render=Additive(region.x), loss=loss)
        grad = region.masked(answer.grad)
        length, dual = (size.clamp_min(tiny(grad)) for size in (lengths(grad), region.dual_norm(grad)))
        if t == 0:
            gap = answer.verdict.margin.abs()
            state = replace(state, gap=gap, rate=shortest(region, gap / dual * LONGER.get(region.ball.p, 1.0)))
        across = answer.verdict.margin > 0
        found = state.found | across
        stride = state.rate * (FINAL_RATE + (1 - FINAL_RATE) * fraction)
        moved = state.delta + grad * rowwise(stride / length, grad)
        turn = self.dual * (1 - (1 - FINAL_DUAL) * t / self.steps)
        move = torch.where(across, turn, torch.where(found, -turn, -2 * turn))
        price = (state.price + move).clamp_(-STEEPEST_PRICE, STEEPEST_PRICE)
        delta = region.ball.prox(moved, stride * (price + AHEAD * move).exp() * dual / length)
        delta = region.clamp_(delta.add_(region.x)).sub_(region.x)
        return replace(state, delta=delta, price=price, found=found)

    def finish(self, oracle: Gradients, state: Game) -> None:
        oracle.score(oracle.region.x + state.delta)
