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
    """What a model with detectors says of B inputs."""

    outputs: Any  # as without detectors
    alarm: Tensor  # (B,) above 0 exactly where the input is rejected


class ClimbPart(Climb):
    """Climbs one of the two parts of `Undetected`; GoalError on a goal without a detector."""

    def of(self, terms: Terms) -> Tensor:
        raise GoalError(f"{type(self).__name__} climbs one part of the goal Undetected, and nothing here may reject")


@dataclass(frozen=True)
class ClimbDetector(ClimbPart):
    """Toward silence alone: `oracle.gradient(x, loss=ClimbDetector())` climbs -alarm."""


@dataclass(frozen=True)
class ClimbTask(ClimbPart):
    """By `loss`, or the inner goal's own, without a look at the alarm."""

    loss: Climb | None = None


@dataclass(frozen=True)
class Undetected(Goal):
    """`goal` met, and no detector alarmed (Carlini & Wagner 2017, arXiv:1705.07263).

        margin  min(margin of the goal, -alarm)
        loss    loss of the goal - weight * softplus(sharpness * alarm) / sharpness

    The joint loss lets go of a detector that is silent by some margin; an attack that names a loss climbs that in place
    of the goal's, in whose place the cross-entropy is climbed if it is the log-odds (`Climb.in_sum`).
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
