"""`Regularized`: a target whose attacks also keep penalties of the input small, as the variation of a patch.

target = Regularized(OverScenes(placed, goal, scenes), TotalVariation(weight=0.1))
run(PGD(Linf(1.0)), target, FoolScenes(torch.zeros(1)), torch.full((1, 3, 64, 64), 0.5))
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..access import Decisions, Decoupled
from ..access.parameters import NonNegativeFloat, check_parameters
from ..errors import ConfigError, TargetError
from ..goals import Goal, RegularizedGoal, RegularizedOutputs
from ..random import Key
from ..shapes import FloatBatch, FloatPerRow
from .target import Target, WrappedTarget, answered

T = TypeVar("T", bound=Decisions)


@dataclass(frozen=True, kw_only=True)
class Penalty(ABC):
    """Base class of penalties of an input, which an attack keeps small beside reaching its goal.

    Args:
        weight: the factor with which it is subtracted from the loss that attacks ascend.
    """

    weight: NonNegativeFloat = 1.0

    def __post_init__(self) -> None:
        check_parameters(self)

    @abstractmethod
    def __call__(self, x: FloatBatch) -> FloatPerRow:
        """Return the penalty (B,) of inputs (B, ...), without its weight."""


class Regularized(WrappedTarget[T]):
    """`target`, with a loss for attacks that is the goal's less the weighted penalties of the input.

    Success is not touched, and the deployed model knows of no penalty. The input is that of this target: around
    `OverScenes` the artifact, around a model the image. An attack's own objective (Carlini-Wagner, the attacks of
    `fit`) is given margin and loss less the penalties. Attacks that follow the margin without one (Square, DeepFool,
    FAB, those on decisions) do not see them.

    Raises: TargetError, ConfigError.
    """

    def __init__(self, target: Target[T], *penalties: Penalty) -> None:
        if not isinstance(target, Target):
            raise TargetError(f"a {type(target).__name__} is no target; wrap it: Regularized(Classifier(model), ...)")
        if not penalties:
            raise ConfigError("Regularized has no penalty; pass some, as TotalVariation(weight=0.1)")
        for penalty in penalties:
            if not isinstance(penalty, Penalty):
                raise ConfigError(f"{penalty!r:.80} is no penalty; pass one, as TotalVariation(weight=0.1)")
        super().__init__(target)
        self.penalties = penalties

    @property
    def name(self) -> str:
        return " + ".join([self.target.name, *(type(penalty).__name__ for penalty in self.penalties)])

    @property
    def confirming_target(self) -> Target[Any]:
        return self.target.confirming_target

    def adapt_goal(self, goal: Goal) -> Goal:
        goal = self.target.adapt_goal(goal.goal if isinstance(goal, RegularizedGoal) else goal)
        return RegularizedGoal(goal)

    def __call__(self, images: FloatBatch, key: Key | None = None, context: Any = None) -> Any:
        answer = answered(self.target, images, key, context)
        total = self.penalty(images)
        if isinstance(answer, Decoupled):
            return Decoupled(answer.judged_outputs, RegularizedOutputs(answer.gradient_outputs, total))
        return RegularizedOutputs(answer, total)

    def penalty(self, x: FloatBatch) -> Tensor:
        """Return the sum (B,) of the weighted penalties of inputs (B, ...)."""
        return torch.stack([penalty.weight * penalty(x) for penalty in self.penalties]).sum(0)

    def check(self, outputs: Any) -> None:
        """Check the target's part of the outputs."""
        self.target.check(outputs.outputs if isinstance(outputs, RegularizedOutputs) else outputs)

    def identity(self) -> tuple[object, ...]:
        return ("regularized", *self.penalties, *self.target.identity())
