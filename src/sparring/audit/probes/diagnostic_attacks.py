"""Small attacks that measure instead of breaking: a walk along the gradient that keeps a diary, and random noise."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...access import Attack, Batch, Gradients, Scores, margin_objective
from ...geometry import Ball, Region
from ...random import Key


@dataclass
class Diary:
    """What a walk saw, batch by batch, row by row."""

    still: list[Tensor] = field(default_factory=list)  # the loss has no gradient at the image
    flat: list[Tensor] = field(default_factory=list)  # nor has the margin
    gain: list[Tensor] = field(default_factory=list)  # of the margin, from the first point to the last

    def joined(self, name: str) -> Tensor:
        return torch.cat([part.cpu() for part in getattr(self, name)])


@dataclass(frozen=True)
class Path:
    """Where each row stands, and where it began."""

    image: Tensor
    first: Tensor  # margin at the image
    last: Tensor
    still: Tensor
    flat: Tensor
    region: Region


@dataclass(frozen=True)
class Walk(Attack[Gradients, Path]):
    """From the image, `steps` steps of eps / steps along the gradient of the margin."""

    ball: Ball
    diary: Diary = field(compare=False)
    steps: int = 10

    def init(self, oracle: Gradients, batch: Batch) -> Path:
        answer = oracle.gradient(batch.x)
        still = answer.grad.flatten(1).abs().amax(1) == 0
        margin = answer.verdict.margin
        return Path(batch.x.clone(), margin, margin, still, still, self.ball.region(batch.x))

    def step(self, oracle: Gradients, state: Path, t: int) -> Path:
        answer = oracle.gradient(state.image, objective=margin_objective)
        flat = answer.grad.flatten(1).abs().amax(1) == 0 if t == 0 else state.flat
        image = self.ball.ascend_(answer.grad, state.image, self.ball.eps / self.steps, state.region)
        return Path(image, state.first, answer.verdict.margin, state.still, flat, state.region)

    def finish(self, oracle: Gradients, state: Path) -> None:
        last = oracle.score(state.image).margin
        self.diary.still.append(state.still)
        self.diary.flat.append(state.flat)
        self.diary.gain.append(last - state.first)


@dataclass(frozen=True)
class Draws:
    """The images, and the key of what is drawn around them."""

    x: Tensor
    key: Key


@dataclass(frozen=True)
class Noise(Attack[Scores, Draws]):
    """Random points of the ball, in turn within it and at its edge: what blind luck brings with as many passes."""

    ball: Ball
    steps: int = 20

    def init(self, oracle: Scores, batch: Batch) -> Draws:
        return Draws(batch.x, batch.key)

    def step(self, oracle: Scores, state: Draws, t: int) -> Draws:
        key = state.key.reseeded(t)
        if t % 2:
            far = self.ball.eps * self.ball.steepest(key.normal("edge", state.x.shape[1:], dtype=state.x.dtype))
            delta = self.ball.project(far, state.x)
        else:
            delta = self.ball.sample(key, state.x)
        oracle.score(state.x + delta)
        return state


