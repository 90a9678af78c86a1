"""Variance tuning (Wang & He 2021, arXiv:2103.15571, algorithm 1): the gradient, corrected by its neighborhood.

    g_t = grad L(x_t) + v_{t-1},   v_t = 1/N sum_i grad L(x_t + r_i) - grad L(x_t),   r_i ~ U[-(beta eps), beta eps]^d

Departure: the neighbors are clipped to the valid range. With NI the neighborhood is that of the lookahead point.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from ...access import Gradient, NonNegativeFloat, PositiveInt, check_ball
from ...geometry import Ball, Linf, rowwise
from .copies import average_over_copies
from .technique import GradientFunction, GradientQuery, GradientWithMemory, TransferTechnique


@dataclass(frozen=True)
class VarianceTuning(TransferTechnique):
    """Add to the gradient how the last step's gradient differed from the mean over its neighborhood (VT), in Linf.

    Args:
        N: the number of neighbors (20 in the paper); a gradient costs 1 + N passes.
        beta: the radius of the neighborhood, in eps (1.5 in the paper).
    """

    N: PositiveInt = 20
    beta: NonNegativeFloat = 1.5

    abbreviation: ClassVar[str] = "VT"
    has_memory: ClassVar[bool] = True

    def check(self, ball: Ball, images: Tensor | None = None) -> None:
        check_ball("VarianceTuning", ball, (Linf,), "ScaleInvariance")
        ball.bounded("VarianceTuning")

    def __call__(self, gradient: GradientFunction, query: GradientQuery) -> Gradient:
        def at_neighbors(copies: GradientQuery, number: Tensor) -> Gradient:
            noise = copies.key.uniform("neighbors", copies.images.shape[1:], copies.step, copies.images.dtype)
            noise.mul_(2).sub_(1).mul_(rowwise(self.beta * copies.region.eps, noise))
            return gradient(replace(copies, images=copies.region.clamp_(noise.add_(copies.images))))

        answer = gradient(query)
        mean = average_over_copies(at_neighbors, query, self.N)
        variance, grad = mean.grad.sub_(answer.grad), answer.grad + query.memory
        return GradientWithMemory(answer.verdict, answer.value, grad, answer.images, variance)
