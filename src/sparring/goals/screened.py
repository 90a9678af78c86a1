"""Outputs of a model that may reject an image, and the goal of passing it undetected."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import GoalError
from .goal import Goal
from .losses import Loss


class Screened(NamedTuple):
    """What a model with detectors says of B images."""

    outputs: Any  # as without detectors
    alarm: Tensor  # (B,) above 0 exactly where the image is rejected


class PartOfIt(Loss):
    """Steers `Undetected` by one of its two parts."""

    def away(self, logits: Tensor, labels: Tensor) -> Tensor:
        raise GoalError(f"{type(self).__name__} steers by one part of the goal Undetected, and nothing here may reject")

    def toward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return self.away(logits, targets)


@dataclass(frozen=True)
class Alarm(PartOfIt):
    """Toward silence alone: `oracle.gradient(x, steer=Alarm())` climbs -alarm."""


@dataclass(frozen=True)
class Alone(PartOfIt):
    """By the goal's own loss, or `loss`, without a look at the alarm."""

    loss: Loss | None = None

    def take(self, rows: Tensor) -> Self:
        return self if self.loss is None else replace(self, loss=self.loss.take(rows))


@dataclass(frozen=True)
class Undetected(Goal):
    """`goal` met, and no detector alarmed (Carlini & Wagner 2017, arXiv:1705.07263).

        margin  min(margin of the goal, -alarm)
        loss    loss of the goal - weight * softplus(sharpness * alarm) / sharpness

    The joint loss lets go of a detector that is silent by some margin.
    """

    goal: Goal
    weight: float = 1.0
    sharpness: float = 5.0
    part: str = "both"  # or "goal", "alarm": what is climbed

    def __len__(self) -> int:
        return len(self.goal)

    def take(self, rows: Tensor) -> Self:
        return replace(self, goal=self.goal.take(rows))

    def to(self, device: torch.device) -> Self:
        return replace(self, goal=self.goal.to(device))

    def margin(self, outputs: Screened) -> Tensor:
        return torch.minimum(self.goal.margin(outputs.outputs), -outputs.alarm)

    def ascent(self, outputs: Screened) -> Tensor:
        if self.part == "alarm":
            return -outputs.alarm
        loss = self.goal.ascent(outputs.outputs)
        if self.part == "goal":
            return loss
        return loss - self.weight * F.softplus(self.sharpness * outputs.alarm) / self.sharpness

    def check(self, outputs: Screened, all_rows: Self) -> None:
        self.goal.check(outputs.outputs, all_rows.goal)

    def rivals(self, outputs: Screened, k: int) -> Tensor:
        return torch.minimum(self.goal.rivals(outputs.outputs, k), -outputs.alarm[:, None])

    def ways(self, outputs: Screened, k: int) -> Tensor:
        return self.goal.ways(outputs.outputs, k)

    def remark(self, outputs: Screened) -> str | None:
        return self.goal.remark(outputs.outputs)

    def steered_by(self, loss: Loss) -> Self:
        if isinstance(loss, Alarm):
            return replace(self, part="alarm")
        if isinstance(loss, Alone):
            goal = self.goal if loss.loss is None else self.goal.steered_by(loss.loss)
            return replace(self, goal=goal, part="goal")
        return replace(self, goal=self.goal.steered_by(loss))
