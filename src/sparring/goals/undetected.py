"""Outputs of a model with a detector, and the goal of a success that is not detected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import GoalError
from .climbs import Climb
from .goal import Goal
from .terms import Terms


@dataclass(frozen=True)
class DetectorOutputs:
    """The outputs of a model with detectors for B inputs."""

    outputs: Any  # those of the model without detectors
    alarm: Tensor  # (B,) above 0 exactly where the input is rejected


class ClimbPart(Climb):
    """Base class of the losses that are one part of `Undetected`; GoalError on a goal without a detector."""

    def of(self, terms: Terms) -> Tensor:
        raise GoalError(f"{type(self).__name__} climbs one part of the goal Undetected, and nothing here may reject")


@dataclass(frozen=True)
class ClimbDetector(ClimbPart):
    """The detector's part: `oracle.gradient(x, loss=ClimbDetector())` ascends -alarm."""


@dataclass(frozen=True)
class ClimbTask(ClimbPart):
    """The task's part: `loss`, or the inner goal's own loss, regardless of the alarm."""

    loss: Climb | None = None


@dataclass(frozen=True)
class Undetected(Goal):
    """Success: `goal` is met and no detector rejects the input (Carlini & Wagner 2017, arXiv:1705.07263).

        margin  min(margin of the goal, -alarm)
        loss    loss of the goal - weight * softplus(sharpness * alarm) / sharpness

    The softplus makes the alarm's gradient vanish once the alarm is clearly negative. The goal's loss is the one that
    the attack names, or else the goal's own `loss.in_sum()`: the cross-entropy in place of the log-odds.
    """

    goal: Goal
    weight: float = 1.0
    sharpness: float = 5.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "loss", self.goal.loss)
        object.__setattr__(self, "task", self.goal.task)

    def __len__(self) -> int:
        return len(self.goal)

    def terms(self, outputs: DetectorOutputs) -> Terms:
        terms, silence = self.goal.terms(outputs.outputs), -outputs.alarm[:, None]
        if terms.every:
            return Terms(torch.cat((terms.values, silence), dim=1), every=True)
        return Terms(torch.minimum(terms.values, silence), count=terms.count)

    def margin(self, outputs: DetectorOutputs) -> Tensor:
        return torch.minimum(self.goal.margin(outputs.outputs), -outputs.alarm)

    def loss_of(self, outputs: DetectorOutputs, climb: Climb | None = None) -> Tensor:
        if isinstance(climb, ClimbDetector):
            return -outputs.alarm
        if isinstance(climb, ClimbTask):
            return self.goal.loss_of(outputs.outputs, climb.loss)
        loss = self.goal.loss_of(outputs.outputs, self.loss.in_sum() if climb is None else climb)
        return loss - self.weight * F.softplus(self.sharpness * outputs.alarm) / self.sharpness

    def check(self, outputs: DetectorOutputs, all_rows: Self) -> None:
        self.goal.check(outputs.outputs, all_rows.goal)
