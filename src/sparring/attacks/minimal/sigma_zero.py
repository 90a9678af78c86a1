"""sigma-zero (Cina et al. 2024, arXiv:2402.01879, algorithm 1): few components, by a smooth stand-in for their count.

    loss   = max(-margin, 0) + 1/d sum_i delta_i^2 / (delta_i^2 + sigma)
    delta  = clip ( delta - rate_t * Adam( grad loss / |grad loss|_inf ) )
    tau   += share * rate_t where the row is across, -= where it is not;   delta_i = 0 where |delta_i| < tau

with a cosine schedule of the rate down to a tenth, which Adam follows one step late (as adv-lib's does). With
L0(pixels=True) the sum and the threshold run over pixels: the squares of a pixel's channels are added up, and it falls
as a whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Attack, Batch, Gradients, Keep
from ...errors import ConfigError
from ...geometry import L0, Ball, rowwise, tiny
from ...geometry.region import Region
from ...goals import Verdict
from ...perturbations import Additive

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # Adam


@dataclass(frozen=True)
class Sparse:
    """A perturbation, Adam's moments, and the size below which a component falls."""

    delta: Tensor
    mean: Tensor
    square: Tensor
    tau: Tensor


@dataclass(frozen=True)
class SigmaZero(Attack[Gradients, Sparse]):
    """Fewest components, or pixels, at a fixed number of passes.

    Args:
        ball: L0() counts components, L0(pixels=True) pixels; a finite eps asks for examples within it.
        steps: gradient steps (1000 in the paper).
        rate: Adam's first step size, in pixel values (1 in the paper).
        sigma: how smooth the count is (1e-3 in the paper).
        tau: the first threshold (0.3 in the paper).
        share: the threshold moves by this share of the rate (0.01 in the paper).
    """

    ball: Ball = L0()  # noqa: RUF009
    steps: int = 1000
    rate: float = 1.0
    sigma: float = 1e-3
    tau: float = 0.3
    share: float = 0.01

    norms: ClassVar[tuple[type[Ball], ...]] = (L0,)
    elsewhere: ClassVar[str] = "FMN"
    regional: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1 or not min(self.rate, self.sigma, self.share) > 0 or not 0 <= self.tau <= 1:
            raise ConfigError(
                f"SigmaZero steps={self.steps}, rate={self.rate}, sigma={self.sigma}, tau={self.tau}, "
                f"share={self.share}; pass numbers above 0, and tau in [0, 1]"
            )

    @property
    def keep(self) -> Keep:
        return Keep.SMALLEST

    def init(self, oracle: Gradients, batch: Batch) -> Sparse:
        still = torch.zeros_like(oracle.region.x)
        return Sparse(still, still, still, torch.full_like(oracle.region.eps, self.tau))

    def step(self, oracle: Gradients, state: Sparse, t: int) -> Sparse:
        region, scale = oracle.region, oracle.region.inputs.scale
        count = region.ball.norm(torch.ones_like(region.x[:1]) if region.free is None else region.free.to(region.x))

        def price(verdict: Verdict, images: Tensor) -> Tensor:
            square = region.ball.sum_per_site(((images - region.x) / scale).square())
            return (square / (square + self.sigma)).sum(1) / count - verdict.margin.clamp_max(0)

        answer = oracle.gradient(state.delta, render=Additive(region.x), objective=price)
        grad = region.masked(answer.grad)
        grad = grad / rowwise(grad.flatten(1).abs().amax(1).clamp_min(tiny(grad)), grad)
        mean = state.mean.lerp(grad, 1 - BETA1)
        square = (state.square * BETA2).addcmul_(grad, grad, value=1 - BETA2)
        root = (square / (1 - BETA2 ** (t + 1))).sqrt_().add_(EPSILON)
        rate, later = self._rate(t - 1), self._rate(t)
        moved = state.delta - mean / root * (rate * scale / (1 - BETA1 ** (t + 1)))
        delta = region.clamp_(moved.add_(region.x)).sub_(region.x)
        turn = torch.where(answer.verdict.margin > 0, self.share * later, -self.share * later)
        tau = (state.tau + turn).clamp_(0, 1)
        return Sparse(self._sparse(region, delta, tau * scale), mean, square, tau)

    def _rate(self, t: int) -> float:
        return self.rate * (0.1 + 0.9 * (1 + math.cos(math.pi * max(t, 0) / self.steps)) / 2)

    def _sparse(self, region: Region, delta: Tensor, tau: Tensor) -> Tensor:
        size = delta.abs()
        if region.ball.grouped:
            sites = region.inputs.per_site(size).amax(2, keepdim=True)
            size = region.inputs.from_sites(sites, delta)
        return delta * (size >= rowwise(tau, delta))

    def finish(self, oracle: Gradients, state: Sparse) -> None:
        oracle.score(oracle.region.x + state.delta)
