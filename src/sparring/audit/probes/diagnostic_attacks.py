"""Small attacks that measure: steps along the gradient that log what they see, and random noise."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...access import Attack, Batch, Gradients, Scores, margin_objective
from ...geometry import Ball, Region
from ...goals import CrossEntropy
from ...random import Key


@dataclass
class GradientLog:
    """What gradient steps have seen, batch by batch, one row per image."""

    zero_loss_gradient: list[Tensor] = field(default_factory=list)  # the loss has no gradient at the image
    zero_margin_gradient: list[Tensor] = field(default_factory=list)  # nor has the margin
    gain: list[Tensor] = field(default_factory=list)  # of the margin, from the first point to the last

    def joined(self, name: str) -> Tensor:
        return torch.cat([part.cpu() for part in getattr(self, name)])


@dataclass(frozen=True)
class GradientWalkState:
    """The image, margins and gradient flags of each row."""

    image: Tensor
    first: Tensor  # margin at the image
    last: Tensor
    zero_loss_gradient: Tensor
    zero_margin_gradient: Tensor
    region: Region


@dataclass(frozen=True)
class GradientWalk(Attack[Gradients, GradientWalkState]):
    """From the image, `steps` steps of eps / steps along the gradient of the margin."""

    ball: Ball
    log: GradientLog = field(compare=False)
    steps: int = 10

    def init(self, oracle: Gradients, batch: Batch) -> GradientWalkState:
        answer = oracle.gradient(batch.x, loss=CrossEntropy())
        zero_loss_gradient = answer.grad.flatten(1).abs().amax(1) == 0
        margin = answer.verdict.margin
        return GradientWalkState(
            batch.x.clone(), margin, margin, zero_loss_gradient, zero_loss_gradient, self.ball.region(batch.x)
        )

    def step(self, oracle: Gradients, state: GradientWalkState, t: int) -> GradientWalkState:
        answer = oracle.gradient(state.image, objective=margin_objective)
        zero_margin_gradient = answer.grad.flatten(1).abs().amax(1) == 0 if t == 0 else state.zero_margin_gradient
        image = self.ball.ascend_(answer.grad, state.image, self.ball.eps / self.steps, state.region)
        return GradientWalkState(
            image, state.first, answer.verdict.margin, state.zero_loss_gradient, zero_margin_gradient, state.region
        )

    def finish(self, oracle: Gradients, state: GradientWalkState) -> None:
        last = oracle.score(state.image).margin
        self.log.zero_loss_gradient.append(state.zero_loss_gradient)
        self.log.zero_margin_gradient.append(state.zero_margin_gradient)
        self.log.gain.append(last - state.first)


@dataclass(frozen=True)
class RandomNoiseState:
    """The images, and the key of what is drawn around them."""

    x: Tensor
    key: Key


@dataclass(frozen=True)
class RandomNoise(Attack[Scores, RandomNoiseState]):
    """Random points of the ball, in turn within it and at its edge: what blind luck brings with as many passes."""

    ball: Ball
    steps: int = 20

    def init(self, oracle: Scores, batch: Batch) -> RandomNoiseState:
        return RandomNoiseState(batch.x, batch.key)

    def step(self, oracle: Scores, state: RandomNoiseState, t: int) -> RandomNoiseState:
        key = state.key.reseeded(t)
        if t % 2:
            far = self.ball.eps * self.ball.steepest(key.normal("edge", state.x.shape[1:], dtype=state.x.dtype))
            delta = self.ball.project(far, state.x)
        else:
            delta = self.ball.sample(key, state.x)
        oracle.score(state.x + delta)
        return state
