"""Universal perturbation (Moosavi-Dezfooli et al. 2017, arXiv:1610.08401, algorithm 1).

    for x in X with x + v not yet fooled:   dv = argmin |r|_2  s.t.  x + v + r is fooled     (by DeepFool)
                                            v  <- Proj_ball ( v + dv )

until a share of 1 - delta of X is fooled. Departures: dv is found for all images of a portion that v does not fool, at
once, and v moves by `pull` times their mean (portion=1, pull=1 is the paper's own loop); images are kept in the valid
range.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Jacobians, Shared, SharedBatch
from ...errors import ConfigError
from ...geometry import L2, Ball, Linf
from ..minimal import DeepFool
from .perturbation import Perturbation, within


@dataclass(frozen=True)
class Shift:
    """The perturbation under way."""

    delta: Tensor  # (C, H, W)


@dataclass(frozen=True)
class Universal(Shared[Jacobians, Shift, Perturbation]):
    """One perturbation for all images, gathered from the ways that DeepFool finds.

    Args:
        ball: Linf or L2 with a finite eps (10/255 and 2000/255 in the paper).
        epochs: over the images at most (10 in the authors' code).
        portion: images looked at together.
        pull: how far v moves along the mean of the ways, in units of it.
        goal_share: ends the search once so many of the images fell in an epoch (0.8 in the paper).
        steps, classes, overshoot: of DeepFool (10 steps and an overshoot of 0.02 in the authors' code).
    """

    ball: Ball
    epochs: int = 10
    portion: int = 32
    pull: float = 8.0
    goal_share: float = 0.8
    steps: int = 10
    classes: int = 10
    overshoot: float = 0.02

    norms: ClassVar[tuple[type[Ball], ...]] = (Linf, L2)
    regional: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.name, self.epochs, self.portion)
        if not (self.pull > 0 and 0 < self.goal_share <= 1):
            given = f"pull={self.pull}, goal_share={self.goal_share}"
            raise ConfigError(f"{self.name} {given}; pass a pull above 0 and a share in (0, 1]")

    def init(self, like: Tensor, seed: int, start: Perturbation | None) -> Shift:
        return begin(like, start, self.ball)

    def step(self, oracle: Jacobians, state: Shift, portion: SharedBatch, progress: float) -> Shift:
        moved = oracle.region.nearest_(portion.x + state.delta)
        standing = (oracle.score(moved).margin <= 0).nonzero().squeeze(1)
        if len(standing) == 0:
            return state
        start = moved[standing]
        way = DeepFool(steps=self.steps, candidates=self.classes, overshoot=self.overshoot)
        reached, won = portion.attacked(way, start, standing)
        ways = (reached - start)[won]
        if len(ways) == 0:
            return state
        return Shift(within(state.delta + self.pull * ways.mean(0), self.ball))

    def artifact(self, state: Shift) -> Perturbation:
        return Perturbation(state.delta, self.ball)

    def done(self, state: Shift, fooled: float) -> bool:
        return fooled >= self.goal_share


def begin(like: Tensor, start: Perturbation | None, ball: Ball) -> Shift:
    """No perturbation, or the one to go on from, brought into the ball."""
    if start is None:
        return Shift(torch.zeros_like(like[0]))
    start.check(like)
    return Shift(within(start.delta.to(like), ball))


def check(name: str, epochs: int, portion: int) -> None:
    """Raise ConfigError for numbers that no fit can go by."""
    if epochs < 1 or portion < 1:
        raise ConfigError(f"{name} epochs={epochs}, portion={portion}; pass at least 1")
