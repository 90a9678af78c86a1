"""sigma-zero (Cina et al. 2024, arXiv:2402.01879, algorithm 1): few components, by a smooth form of their count.

    loss   = max(-margin, 0) + 1/d sum_i delta_i^2 / (delta_i^2 + sigma)
    delta  = clip ( delta - learning_rate_t * Adam( grad loss / |grad loss|_inf ) )
    tau   += tau_factor * learning_rate_t where the row succeeds, -= where it does not
    delta_i = 0 where |delta_i| < tau

with a cosine schedule of the learning rate down to a tenth, which Adam follows one step late (as adv-lib's does). With
L0(pixels=True) the sum and the threshold run over pixels: the squares of a pixel's channels are added up, and it is set
to 0 as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Batch, Gradients, PositiveFloat, PositiveInt, Probability
from ...geometry import L0, Ball, rowwise, tiny
from ...geometry.region import Region
from ...goals import Verdict
from ...perturbations import Additive
from ..adam import Adam
from ..minimum_norm import MinimumNormAttack
from .annealing import cosine_decay

FINAL_LEARNING_RATE = 0.1  # of the first one, at the last step


@dataclass(frozen=True)
class SigmaZeroState:
    """Each row's perturbation, and the size below which a component is set to 0."""

    delta: Tensor  # (B, ...)
    adam: Adam
    tau: Tensor  # (B,)


@dataclass(frozen=True)
class SigmaZero(MinimumNormAttack[Gradients, SigmaZeroState]):
    """Find the fewest components, or pixels, at a fixed number of passes.

    Args:
        ball: L0() counts components, L0(pixels=True) pixels; a finite eps asks for examples within it.
        steps: gradient steps (1000 in the paper).
        learning_rate: Adam's first step size, in pixel values (1 in the paper).
        sigma: the smoothness of the count, in squared pixel values (1e-3 in the paper).
        tau: the first threshold, in pixel values (0.3 in the paper).
        tau_factor: the change of the threshold as a share of the learning rate (0.01 in the paper).
    """

    ball: Ball = L0()  # noqa: RUF009
    steps: PositiveInt = 1000
    learning_rate: PositiveFloat = 1.0
    sigma: PositiveFloat = 1e-3
    tau: Probability = 0.3
    tau_factor: PositiveFloat = 0.01

    norms: ClassVar[tuple[type[Ball], ...]] = (L0,)
    alternative: ClassVar[str] = "FMN"

    def init(self, oracle: Gradients, batch: Batch) -> SigmaZeroState:
        delta = torch.zeros_like(oracle.region.x)
        return SigmaZeroState(delta, Adam.zeros_like(delta), torch.full_like(oracle.region.eps, self.tau))

    def step(self, oracle: Gradients, state: SigmaZeroState, t: int) -> SigmaZeroState:
        region, scale = oracle.region, oracle.region.inputs.scale
        count = region.ball.norm(torch.ones_like(region.x[:1]) if region.free is None else region.free.to(region.x))

        def objective(verdict: Verdict, images: Tensor) -> Tensor:
            square = region.ball.sum_per_site(((images - region.x) / scale).square())
            return (square / (square + self.sigma)).sum(1) / count - verdict.margin.clamp_max(0)

        answer = oracle.gradient(state.delta, render=Additive(region.x), objective=objective)
        grad = region.masked(answer.grad)
        grad = grad / rowwise(grad.flatten(1).abs().amax(1).clamp_min(tiny(grad)), grad)
        update, adam = state.adam.step(grad, self._learning_rate(t - 1) * scale, t + 1)
        delta = region.clamp_((state.delta - update).add_(region.x)).sub_(region.x)
        change = self.tau_factor * self._learning_rate(t)
        tau = (state.tau + torch.where(answer.verdict.margin > 0, change, -change)).clamp_(0, 1)
        return SigmaZeroState(_sparse(region, delta, tau * scale), adam, tau)

    def _learning_rate(self, t: int) -> float:
        decay = FINAL_LEARNING_RATE + (1 - FINAL_LEARNING_RATE) * cosine_decay(max(t, 0), self.steps)
        return self.learning_rate * decay

    def finish(self, oracle: Gradients, state: SigmaZeroState) -> None:
        oracle.score(oracle.region.x + state.delta)


def _sparse(region: Region, delta: Tensor, tau: Tensor) -> Tensor:
    """The perturbation (B, ...) with 0 in the sites whose largest component is below tau (B,)."""
    size = delta.abs()
    if region.ball.grouped:
        sites = region.inputs.per_site(size).amax(2, keepdim=True)
        size = region.inputs.from_sites(sites, delta)
    return delta * (size >= rowwise(tau, delta))
