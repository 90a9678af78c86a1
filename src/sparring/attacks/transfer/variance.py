"""Variance tuning (Wang & He 2021, arXiv:2103.15571, algorithm 1): the gradient, corrected by its neighborhood.

    g_t = grad L(x_t) + v_{t-1},   v_t = 1/N sum_i grad L(x_t + r_i) - grad L(x_t),   r_i ~ U[-(beta eps), beta eps]^d

Departure: the neighbors are cut to the valid range. With NI the neighborhood is that of the point looked ahead to.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from ...access import Gradient, check_ball
from ...errors import ConfigError
from ...geometry import Ball, Linf, rowwise
from .scale import average
from .trick import Ask, Question, Remembered, Trick


@dataclass(frozen=True)
class VarianceTuning(Trick):
    """VT, of Linf.

    Args:
        neighbors: N (20 in the paper); 1 + N passes to a gradient.
        radius: beta, in eps (1.5 in the paper).
    """

    neighbors: int = 20
    radius: float = 1.5

    short: ClassVar[str] = "VT"
    remembers: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.neighbors < 1 or not self.radius >= 0:
            raise ConfigError(
                f"VarianceTuning neighbors={self.neighbors}, radius={self.radius}; pass at least 1, and 0 or more"
            )

    def check(self, ball: Ball, images: Tensor | None = None) -> None:
        check_ball("VarianceTuning", ball, (Linf,), "ScaleInvariance")
        ball.bounded("VarianceTuning")

    def __call__(self, ask: Ask, question: Question) -> Gradient:
        def neighbor(copy: Question, number: Tensor) -> Gradient:
            noise = copy.key.uniform("neighbors", copy.images.shape[1:], copy.step, copy.images.dtype)
            noise.mul_(2).sub_(1).mul_(rowwise(self.radius * copy.region.eps, noise))
            return ask(replace(copy, images=copy.region.clamp_(noise.add_(copy.images))))

        answer = ask(question)
        around = average(neighbor, question, self.neighbors)
        variance, grad = around.grad.sub_(answer.grad), answer.grad + question.memory
        return Remembered(answer.verdict, answer.value, grad, answer.images, variance)
