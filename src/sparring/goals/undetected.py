"""Outputs of a model that may reject an input, and the goal of passing its detectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch.nn import functional as F

from ..errors import GoalError
from ..shapes import FloatPerRow
from .climbs import Climb
from .goal import Goal
from .terms import Terms


@dataclass(frozen=True)
class DetectorOutputs:
    """The outputs of a model with detectors for B inputs."""

    outputs: Any  # those of the model without detectors
    alarm: FloatPerRow  # above 0 exactly where the input is rejected


class ClimbPart(Climb):
    """The loss of one of the two parts of `Undetected`; `of` raises GoalError on a goal without a detector."""

    def of(self, terms: Terms) -> FloatPerRow:
        """Raise GoalError: terms do not say which of them are the detector's."""
        raise GoalError(f"{type(self).__name__} climbs one part of the goal Undetected, and nothing here may reject")


@dataclass(frozen=True)
class ClimbDetector(ClimbPart):
    """The loss -alarm, for attacks on the detector alone: `oracle.gradient(x, loss=ClimbDetector())`."""


@dataclass(frozen=True)
class ClimbTask(ClimbPart):
    """The loss of the task alone: `loss`, or where it is None the inner goal's own."""

    loss: Climb | None = None


@dataclass(frozen=True)
class Undetected(Goal):
    """The goal of meeting `goal` while no detector raises an alarm (Carlini & Wagner 2017, arXiv:1705.07263).

        margin  min(margin of the goal, -alarm)
        loss    loss of the goal - weight * softplus(sharpness * alarm) / sharpness

    The softplus vanishes where the alarm is silent by some margin. An attack that names a loss ascends that in place of
    the goal's, in whose place `Climb.in_sum` takes a cross-entropy.
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
        """Return the goal's terms, each of which needs silence too."""
        terms, silence = self.goal.terms(outputs.outputs), -outputs.alarm[:, None]
        if terms.every:
            return Terms(torch.cat((terms.values, silence), dim=1), every=True)
        return Terms(torch.minimum(terms.values, silence), count=terms.count)

    def margin(self, outputs: DetectorOutputs) -> FloatPerRow:
        """Return the smaller of the goal's margin and -alarm, (B,)."""
        return torch.minimum(self.goal.margin(outputs.outputs), -outputs.alarm)

    def loss_of(self, outputs: DetectorOutputs, climb: Climb | None = None) -> FloatPerRow:
        """Return the joint loss (B,), or with `ClimbDetector` or `ClimbTask` one part of it."""
        if isinstance(climb, ClimbDetector):
            return -outputs.alarm
        if isinstance(climb, ClimbTask):
            return self.goal.loss_of(outputs.outputs, climb.loss)
        loss = self.goal.loss_of(outputs.outputs, self.loss.in_sum() if climb is None else climb)
        return loss - self.weight * F.softplus(self.sharpness * outputs.alarm) / self.sharpness

    def penalty(self, outputs: DetectorOutputs) -> FloatPerRow | None:
        """Return the penalty of the inner goal."""
        return self.goal.penalty(outputs.outputs)

    def check(self, outputs: DetectorOutputs, all_rows: Self) -> None:
        """Raise what the inner goal raises on its outputs."""
        self.goal.check(outputs.outputs, all_rows.goal)
