"""Universal perturbation by stochastic gradients (Shafahi et al. 2020, arXiv:1811.11304, algorithm 2).

    v <- Proj_ball ( v + step * steepest ( sum_i grad_v L(x_i + v) ) )

over portions of the images. The paper clips the cross-entropy at beta, so that images that are lost already do not rule
the sum. Departures: L is the smooth count of the images that fall, sigmoid(margin / T) with T a fifth of the portion's
mean |margin|, which does the same on both sides and knows no scale of logits; the gradient has momentum, and the step
falls linearly from eps to 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Gradients, Shared, SharedBatch
from ...errors import ConfigError
from ...geometry import L2, Ball, Linf, tiny
from ...goals import Verdict
from .perturbation import Perturbation, within
from .universal import begin, check

TEMPERATURE = 0.2  # in mean |margin|


@dataclass(frozen=True)
class Drift:
    """The perturbation under way, and where it is drifting."""

    delta: Tensor  # (C, H, W)
    momentum: Tensor


@dataclass(frozen=True)
class GradientUniversal(Shared[Gradients, Drift, Perturbation]):
    """One perturbation for all images, by ascent on how many of them fall.

    Args:
        ball: Linf or L2 with a finite eps.
        epochs: over the images.
        portion: images per step.
        step_size: the first step, in units of the norm; None: eps.
        momentum: share of the last gradient that is kept.
    """

    ball: Ball
    epochs: int = 20
    portion: int = 32
    step_size: float | None = None
    momentum: float = 0.5

    norms: ClassVar[tuple[type[Ball], ...]] = (Linf, L2)
    regional: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.name, self.epochs, self.portion)
        if not (0 <= self.momentum < 1 and (self.step_size is None or self.step_size > 0)):
            given = f"step_size={self.step_size}, momentum={self.momentum}"
            raise ConfigError(f"{self.name} {given}; pass a step above 0 and a momentum in [0, 1)")

    def init(self, like: Tensor, seed: int, start: Perturbation | None) -> Drift:
        delta = begin(like, start, self.ball).delta
        return Drift(delta, torch.zeros_like(delta))

    def step(self, oracle: Gradients, state: Drift, portion: SharedBatch, progress: float) -> Drift:
        moved = oracle.region.nearest_(portion.x + state.delta)
        slope = oracle.region.masked(oracle.gradient(moved, objective=fallen).grad).sum(0)
        momentum = self.momentum * state.momentum + slope
        rate = (self.ball.eps if self.step_size is None else self.step_size) * (1 - progress)
        delta = state.delta + rate * self.ball.steepest(momentum[None])[0]
        return Drift(within(delta, self.ball), momentum)

    def artifact(self, state: Drift) -> Perturbation:
        return Perturbation(state.delta, self.ball)


def fallen(verdict: Verdict, images: Tensor) -> Tensor:
    """(B,) between 0 and 1: a smooth word for whether the image has fallen."""
    scale = verdict.margin.detach().abs().mean().clamp_min(tiny(verdict.margin))
    return (verdict.margin / (TEMPERATURE * scale)).sigmoid()
