"""Outputs of a model beside penalties of its input, and the goal whose loss counts them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from ..shapes import FloatPerRow
from .climbs import Climb
from .goal import Goal
from .terms import Terms


@dataclass(frozen=True)
class RegularizedOutputs:
    """The outputs of a model for B inputs, and the sum of weighted penalties of the inputs themselves."""

    outputs: Any
    penalty: FloatPerRow


@dataclass(frozen=True)
class RegularizedGoal(Goal):
    """The goal of meeting `goal`, with the loss that it has minus the penalty of the input.

    Success is that of `goal`: a penalty says which of several examples is the better one, and none is a failure by it.
    Outputs without a penalty are judged as they are.
    """

    goal: Goal

    def __post_init__(self) -> None:
        object.__setattr__(self, "loss", self.goal.loss)
        object.__setattr__(self, "task", self.goal.task)

    def __len__(self) -> int:
        return len(self.goal)

    def terms(self, outputs: Any) -> Terms:
        """Return the terms of the goal inside."""
        return self.goal.terms(without_penalty(outputs))

    def margin(self, outputs: Any) -> FloatPerRow:
        """Return the margin (B,) of the goal inside."""
        return self.goal.margin(without_penalty(outputs))

    def loss_of(self, outputs: Any, climb: Climb | None = None) -> FloatPerRow:
        """Return the loss (B,) of the goal inside less the penalty.

        Where no loss is named it is `Climb.in_sum`, since a sum of losses needs one that falls where the row has won.
        """
        loss = self.goal.loss_of(without_penalty(outputs), self.loss.in_sum() if climb is None else climb)
        return loss - outputs.penalty if isinstance(outputs, RegularizedOutputs) else loss

    def penalty(self, outputs: Any) -> FloatPerRow | None:
        """Return the penalty (B,) that comes with the outputs, and that of the goal inside."""
        inner = self.goal.penalty(without_penalty(outputs))
        if not isinstance(outputs, RegularizedOutputs):
            return inner
        return outputs.penalty if inner is None else outputs.penalty + inner

    def check(self, outputs: Any, all_rows: Self) -> None:
        """Raise what the goal inside raises on its outputs."""
        self.goal.check(without_penalty(outputs), all_rows.goal)


def without_penalty(outputs: Any) -> Any:
    """Return the outputs of the model alone."""
    return outputs.outputs if isinstance(outputs, RegularizedOutputs) else outputs
