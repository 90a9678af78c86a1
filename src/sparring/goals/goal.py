"""The base class of goals: whether the attacker has won on a batch of outputs, and which loss to ascend."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import Tensor

from ..shapes import FloatPerRow
from ..tasks import Task
from .climbs import Climb, PowerMargin
from .terms import Terms


@dataclass(frozen=True)
class Verdict:
    """The judgement of a batch of outputs, row by row."""

    margin: FloatPerRow  # above 0 exactly where the attacker has won
    loss: FloatPerRow  # what a first-order attack ascends


class Goal(ABC):
    """What the attacker wants of each of B inputs.

    Only goals and tasks know what a target's outputs mean. A goal is a row-wise record (a frozen dataclass whose
    tensors have one row per input) with a method `terms`, which returns the conditions of success:

        @dataclass(frozen=True)
        class Dodge(Goal):
            template: Tensor  # (B, D) embeddings that must no longer match
            threshold: float

            def __len__(self) -> int:
                return len(self.template)

            def terms(self, outputs: Tensor) -> Terms:
                return Terms(self.threshold - cosine_similarity(outputs, self.template)[:, None])

    Attacks that name no loss of their own ascend `loss`: a smooth margin that is the same whatever the scale of the
    logits (`PowerMargin`). Where gradients are averaged, over random answers or copies of an image, they ascend
    `loss.in_sum()`: a cross-entropy, which counts an answer the less the further it has succeeded. `task` is the task
    whose outputs the goal can judge; targets of other tasks are refused.
    """

    loss: Climb = PowerMargin()
    task: ClassVar[type[Task] | None] = None  # whose outputs it judges; None: the target's task is not checked

    @abstractmethod
    def terms(self, outputs: Any) -> Terms:
        """Return the conditions of winning on the model's outputs for B inputs."""

    @abstractmethod
    def __len__(self) -> int:
        """Return B, the number of inputs."""

    def margin(self, outputs: Any) -> FloatPerRow:
        """Return the margins (B,), positive exactly where the attack succeeds."""
        return self.terms(outputs).margin

    def loss_of(self, outputs: Any, climb: Climb | None = None) -> FloatPerRow:
        """Return the values (B,) of the loss `climb`, or where it is None of the goal's own loss."""
        return (self.loss if climb is None else climb).of(self.terms(outputs))

    def __call__(self, outputs: Any, climb: Climb | None = None) -> Verdict:
        """Return the margins and the values of the loss together."""
        return Verdict(self.margin(outputs), self.loss_of(outputs, climb))

    def loss_and_gradient(self, outputs: Any, climb: Climb | None = None) -> tuple[FloatPerRow, Tensor] | None:
        """Return `loss_of` and its gradient with respect to `outputs` in closed form; None where there is none."""
        return None

    def verdict_and_gradient(self, outputs: Any, climb: Climb | None = None) -> tuple[Verdict, Tensor] | None:
        """Return the verdict and the gradient of its loss in closed form; None where there is none."""
        known = self.loss_and_gradient(outputs, climb)
        return None if known is None else (Verdict(self.margin(outputs.detach()), known[0]), known[1])

    def penalty(self, outputs: Any) -> FloatPerRow | None:
        """Return the penalty (B,) of the inputs that `loss_of` has subtracted; None where there is none."""
        return None

    def check_task(self, task: Task) -> None:
        """Raise GoalError where a target of this task cannot be judged by the goal; its kind is checked already."""
        return

    def check(self, outputs: Any, all_rows: Self) -> None:
        """Raise GoalError or InputError where `all_rows`, the goal of the whole data set, does not fit such outputs."""
        return
