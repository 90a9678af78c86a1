"""The goals of attacks on classifiers: leave a class (untargeted), or become one (targeted)."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self, final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import GoalError, InputError
from ..shapes import FloatPerRow, IntPerRow, Logits
from ..tasks import Classification, Task
from . import logits
from .climbs import Climb, CrossEntropy, LogitClimb, LogOdds, PowerMargin
from .goal import Goal, Verdict
from .terms import Terms


@dataclass(frozen=True)
class ClassGoal(Goal):
    """A goal with one class per image; `loss` is what attacks ascend that name no loss of their own.

    Raises:
        InputError: `classes` is no 1-D integer tensor.
        GoalError: `loss` is no loss of `sparring.goals`.
    """

    classes: IntPerRow
    loss: Climb = field(default_factory=PowerMargin)

    task: ClassVar[type[Task] | None] = Classification
    every: ClassVar[bool]  # whether the class is approached
    word: ClassVar[str]  # what messages call the classes

    def __post_init__(self) -> None:
        given: Any = self.classes
        if isinstance(given, list | tuple | np.ndarray):
            with suppress(TypeError, ValueError, RuntimeError):
                given = torch.as_tensor(given)
        if isinstance(given, Tensor) and given.ndim == 2 and given.shape[1] == 1:
            given = given.squeeze(1)
        whole = isinstance(given, Tensor) and not (given.is_floating_point() or given.is_complex())
        if not whole or given.dtype == torch.bool or given.ndim != 1:
            got = f"{given.dtype} of shape {tuple(given.shape)}" if isinstance(given, Tensor) else type(given).__name__
            cure = f"; for all of N images pass torch.full((N,), {given})" if isinstance(given, int) else ""
            if isinstance(given, Tensor) and given.ndim == 2:
                cure = f"; of one-hot rows pass {self.word}.argmax(1)"
            raise InputError(f"{self.word} must be a 1-D integer tensor, one class per image; got {got}{cure}")
        object.__setattr__(self, "classes", given.long())
        if not isinstance(self.loss, Climb):
            raise GoalError(
                f"{type(self).__name__} climbs a loss of sparring.goals, not {self.loss!r}; pass PowerMargin()"
            )

    def __len__(self) -> int:
        return len(self.classes)

    def terms(self, outputs: Logits) -> Terms:
        """Return z_k - z_y for every other class k, or with the sign turned where y is approached.

        A class of logit -inf, which the model never answers, is below y even where that of y is -inf too.
        """
        index = self.classes[:, None]
        lead = (outputs - outputs.gather(1, index)).masked_fill(outputs.isneginf(), -torch.inf)
        lead = lead.scatter(1, index, -torch.inf)
        return Terms(-lead, every=True) if self.every else Terms(lead, count=outputs.shape[1] - 1)

    def margin(self, outputs: Logits) -> FloatPerRow:
        """Return max_{k != y} z_k - z_y of logits z (B, K), or with the sign turned where y is approached."""
        lead = logits.margin(outputs, self.classes)
        return -lead if self.every else lead

    def loss_of(self, outputs: Logits, climb: Climb | None = None) -> FloatPerRow:
        """Return the values (B,) of the loss `climb`, or of the goal's own, on logits (B, K)."""
        climb = self.loss if climb is None else climb
        if isinstance(climb, LogitClimb):
            return climb.of_logits(outputs, self.classes, self.every)
        if type(climb) is CrossEntropy:
            away = F.cross_entropy(outputs, self.classes, reduction="none")
        elif type(climb) is LogOdds:
            away = logits.log_odds(outputs, self.classes)
        else:
            return climb.of(self.terms(outputs))
        return -away if self.every else away

    def loss_and_gradient(self, outputs: Logits, climb: Climb | None = None) -> tuple[FloatPerRow, Logits] | None:
        """Return the loss (B,) and its gradient (B, K), for those that have a closed form; else None."""
        climb = self.loss if climb is None else climb
        if type(climb) is CrossEntropy:  # what is derived from it may be another loss
            loss, gradient = logits.cross_entropy_and_gradient(outputs, self.classes)
        elif type(climb) is LogOdds:
            _, loss, gradient = logits.log_odds_and_gradient(outputs, self.classes)
        elif type(climb) is PowerMargin:
            _, loss, gradient = logits.power_margin_and_gradient(outputs, self.classes, self.every)
        else:
            return None
        return (-loss, -gradient) if self.every else (loss, gradient)

    def verdict_and_gradient(self, outputs: Logits, climb: Climb | None = None) -> tuple[Verdict, Logits] | None:
        """Return the verdict and the gradient (B, K) of its loss, for those that have a closed form; else None."""
        if type(self.loss if climb is None else climb) is not PowerMargin:
            return super().verdict_and_gradient(outputs, climb)
        lead, loss, gradient = logits.power_margin_and_gradient(outputs, self.classes, self.every)
        return (Verdict(-lead, -loss), -gradient) if self.every else (Verdict(lead, loss), gradient)

    def check(self, outputs: Logits, all_rows: Self) -> None:
        """Raise GoalError for fewer than two logits per image, InputError for a class that the model does not have."""
        count = outputs.shape[1]
        if count < 2:
            raise GoalError(
                f"the model gives {count} logit per image, which no class can lose to; "
                "for a single-logit binary model use Classifier(..., binary=True)"
            )
        wrong = (all_rows.classes < 0) | (all_rows.classes >= count)
        if bool(wrong.any()):
            row = int(wrong.nonzero()[0])
            raise InputError(
                f"{self.word}[{row}] is {int(all_rows.classes[row])}, and the model has {count} classes "
                f"(0 to {count - 1})"
            )


@final  # its closed forms are those of these terms
@dataclass(frozen=True)
class Misclassify(ClassGoal):
    """The untargeted goal: any class but the label wins. `Misclassify(labels)` takes labels (B,) int64."""

    every: ClassVar[bool] = False
    word: ClassVar[str] = "labels"


@final
@dataclass(frozen=True)
class ClassifyAs(ClassGoal):
    """The targeted goal: only the target class wins. `ClassifyAs(targets)` takes targets (B,) int64."""

    every: ClassVar[bool] = True
    word: ClassVar[str] = "targets"


def least_likely(outputs: Logits) -> IntPerRow:
    """Return the classes (B,) of the smallest logits (B, K) but -inf, which a model gives to classes it never answers.

    The targets of the iterative least-likely class method (Kurakin et al. 2017, arXiv:1607.02533, section 2.3):
    `ClassifyAs(least_likely(target(images)))` under BIM.
    """
    outputs = outputs.detach()
    return outputs.masked_fill(outputs.isneginf(), torch.inf).argmin(dim=1)
