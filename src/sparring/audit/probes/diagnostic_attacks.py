"""The attacks that probes run: gradient steps that log their gradients, and random noise."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Attack, Batch, Gradients, Scores, margin_objective
from ...geometry import Ball, rowwise
from ...goals import CrossEntropy


@dataclass
class GradientLog:
    """The flags and gains recorded by gradient steps, batch by batch, one row per image."""

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
    zero_loss_gradient: Tensor
    zero_margin_gradient: Tensor


@dataclass(frozen=True)
class GradientWalk(Attack[Gradients, GradientWalkState]):
    """From the image, `steps` steps of eps / steps along the gradient of the margin.

    `by_loss`: along that of the goal's loss, where the margin is that of a single part of many (`ShareGoal`) and its
    gradient leads nowhere.
    """

    ball: Ball
    log: GradientLog = field(compare=False)
    steps: int = 10
    by_loss: bool = False

    spends_radius: ClassVar[bool] = True
    uses_region: ClassVar[bool] = True

    def init(self, oracle: Gradients, batch: Batch) -> GradientWalkState:
        x = oracle.region.x
        answer = oracle.gradient(x, loss=CrossEntropy())
        zero = answer.grad.flatten(1).abs().amax(1) == 0
        return GradientWalkState(x.clone(), answer.verdict.margin, zero, zero)

    def step(self, oracle: Gradients, state: GradientWalkState, t: int) -> GradientWalkState:
        answer = oracle.gradient(state.image, objective=None if self.by_loss else margin_objective)
        zero = answer.grad.flatten(1).abs().amax(1) == 0 if t == 0 else state.zero_margin_gradient
        region = oracle.region
        image = region.ascend_(answer.grad, state.image, region.radius / self.steps)
        return replace(state, image=image, zero_margin_gradient=zero)

    def finish(self, oracle: Gradients, state: GradientWalkState) -> None:
        last = oracle.score(state.image).margin
        self.log.zero_loss_gradient.append(state.zero_loss_gradient)
        self.log.zero_margin_gradient.append(state.zero_margin_gradient)
        self.log.gain.append(last - state.first)


@dataclass(frozen=True)
class RandomNoiseState:
    """The best margin (B,) so far: an attack's state has one row per input."""

    margin: Tensor


@dataclass(frozen=True)
class RandomNoise(Attack[Scores, RandomNoiseState]):
    """Random points of the ball, in turn inside and at its edge: a baseline for PGD with as many passes."""

    ball: Ball
    steps: int = 20

    spends_radius: ClassVar[bool] = True
    uses_region: ClassVar[bool] = True

    def init(self, oracle: Scores, batch: Batch) -> RandomNoiseState:
        return RandomNoiseState(torch.full_like(oracle.region.eps, -torch.inf))

    def step(self, oracle: Scores, state: RandomNoiseState, t: int) -> RandomNoiseState:
        region, key = oracle.region, oracle.key.reseeded(t)
        if t % 2:
            edge = region.steepest(key.normal("edge", region.x.shape[1:], dtype=region.x.dtype))
            delta = region.project(edge * rowwise(region.eps, edge))
        else:
            delta = region.sample(key)
        return RandomNoiseState(torch.maximum(state.margin, oracle.score(region.x + delta).margin))
