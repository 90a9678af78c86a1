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

import torch
from torch import Tensor

from ...access import Attack, Batch, Gradients, Keep
from ...errors import ConfigError, ThreatError
from ...geometry import L0, L1, L2, Ball, Linf, rowwise, tiny
from ...geometry.hyperplane import dual_norm
from ...goals import Margin, SmoothMargin
from ...perturbations import Additive
from .fmn import shortest

FINAL_RATE, FINAL_DUAL = 0.01, 0.1  # of the first ones, at the last step
PRICE, STEEPEST_PRICE = -0.5, 14.0  # log(lambda_0 / lambda_1) at first, and at most either way
AHEAD = 5.0  # moves of the price that the prox looks ahead: without them the two players circle each other


@dataclass(frozen=True)
class Game:
    """A perturbation, and the price of its norm."""

    x: Tensor
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

    def __post_init__(self) -> None:
        if not isinstance(self.ball, Linf | L2 | L1 | L0) or (isinstance(self.ball, L0) and self.ball.pixels):
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
        zero = torch.zeros_like(batch.x[:, 0, 0, 0])
        return Game(batch.x, torch.zeros_like(batch.x), zero + PRICE, zero > 0, zero, zero)

    def step(self, oracle: Gradients, state: Game, t: int) -> Game:
        fraction = (1 + math.cos(math.pi * t / self.steps)) / 2
        loss = SmoothMargin(state.gap * (self.smooth * fraction)) if t and self.smooth else Margin()
        answer = oracle.gradient(state.delta, render=Additive(state.x), loss=loss)
        length, dual = (dual_norm(ball, answer.grad).clamp_min(tiny(answer.grad)) for ball in (L2(), self.ball))
        if t == 0:
            gap = answer.verdict.margin.abs()
            state = replace(state, gap=gap, rate=self._rate(gap / dual, state.x))
        across = answer.verdict.margin > 0
        found = state.found | across
        stride = state.rate * (FINAL_RATE + (1 - FINAL_RATE) * fraction)
        moved = state.delta + answer.grad * rowwise(stride / length, answer.grad)
        turn = self.dual * (1 - (1 - FINAL_DUAL) * t / self.steps)
        move = torch.where(across, turn, torch.where(found, -turn, -2 * turn))
        price = (state.price + move).clamp_(-STEEPEST_PRICE, STEEPEST_PRICE)
        delta = self._prox(moved, stride * (price + AHEAD * move).exp() * dual / length)
        delta = delta.add_(state.x).clamp_(0, 1).sub_(state.x)
        return replace(state, delta=delta, price=price, found=found)

    def _prox(self, delta: Tensor, weight: Tensor) -> Tensor:
        """argmin_z |z| weight + |z - delta|_2^2 / 2, row by row."""
        if isinstance(self.ball, Linf):
            far = torch.full_like(delta, torch.inf)
            return delta - L1().project_between(delta, -far, far, weight)
        threshold = rowwise(weight, delta)
        if isinstance(self.ball, L0):
            return delta * (delta.square() >= 2 * threshold)
        if isinstance(self.ball, L1):
            return delta - delta.clamp(-threshold, threshold)
        return delta * (1 - threshold / rowwise(self.ball.norm(delta).clamp_min(tiny(delta)), delta)).clamp_min(0)

    def _rate(self, distance: Tensor, x: Tensor) -> Tensor:
        """The first step; in L1 and L0, where the prox takes most of a step back, a longer one."""
        return shortest(self.ball, distance * {L1: 2.0, L0: 3.0}.get(type(self.ball), 1.0), x)

    def finish(self, oracle: Gradients, state: Game) -> None:
        oracle.score(state.x + state.delta)
