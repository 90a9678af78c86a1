"""The two goals of an attack on a classifier."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor

from ..errors import GoalError, InputError
from .goal import Goal
from .losses import CrossEntropy, Loss, gap


@dataclass(frozen=True)
class ClassGoal(Goal):
    """What both share: one class index per image, and a loss to climb."""

    classes: Tensor  # (B,) int64
    loss: Loss = field(default_factory=CrossEntropy)

    def __post_init__(self) -> None:
        given = self.classes
        whole = isinstance(given, Tensor) and not (given.is_floating_point() or given.is_complex())
        if not whole or given.dtype == torch.bool or given.ndim != 1:
            got = f"{given.dtype} of shape {tuple(given.shape)}" if isinstance(given, Tensor) else type(given).__name__
            raise InputError(f"{self.word} must be a 1-D integer tensor, one class per image; got {got}")
        object.__setattr__(self, "classes", given.long())

    @property
    def word(self) -> str:
        return "labels"

    def __len__(self) -> int:
        return len(self.classes)

    def take(self, rows: Tensor) -> Self:
        return replace(self, classes=self.classes[rows], loss=self.loss.take(rows))

    def to(self, device: torch.device) -> Self:
        return replace(self, classes=self.classes.to(device), loss=self.loss.to(device))

    def remark(self, outputs: Tensor) -> str | None:
        return self.loss.remark(outputs.shape[1])

    def steered_by(self, loss: Loss) -> Self:
        if not isinstance(loss, Loss):
            raise GoalError(f"{type(self).__name__} is steered by a Loss of sparring.goals, not by {loss!r}")
        return replace(self, loss=loss)

    def check(self, outputs: Tensor, all_rows: Self) -> None:
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


@dataclass(frozen=True)
class Misclassify(ClassGoal):
    """Untargeted: any class but the label wins. `Misclassify(labels)` with labels (B,) int64."""

    def margin(self, outputs: Tensor) -> Tensor:
        return gap(outputs, self.classes)

    def ascent(self, outputs: Tensor) -> Tensor:
        return self.loss.away(outputs, self.classes)

    def sloped(self, outputs: Tensor) -> tuple[Tensor, Tensor] | None:
        return self.loss.sloped(outputs, self.classes) if type(self) is Misclassify else None

    def rivals(self, outputs: Tensor, k: int) -> Tensor:
        """(B, min(k, K - 1)) leads over the label of the k classes that come closest."""
        return outputs.gather(1, self.ways(outputs, k)) - outputs.gather(1, self.classes[:, None])

    def ways(self, outputs: Tensor, k: int) -> Tensor:
        """The classes of `rivals`."""
        others = outputs.detach().scatter(1, self.classes[:, None], -torch.inf)
        return others.topk(min(k, outputs.shape[1] - 1), dim=1).indices


@dataclass(frozen=True)
class ClassifyAs(ClassGoal):
    """Targeted: only the target wins. `ClassifyAs(targets)` with targets (B,) int64."""

    @property
    def word(self) -> str:
        return "targets"

    def margin(self, outputs: Tensor) -> Tensor:
        return -gap(outputs, self.classes)

    def ascent(self, outputs: Tensor) -> Tensor:
        return self.loss.toward(outputs, self.classes)

    def sloped(self, outputs: Tensor) -> tuple[Tensor, Tensor] | None:
        away = self.loss.sloped(outputs, self.classes) if type(self) is ClassifyAs else None
        return None if away is None else (-away[0], -away[1])

    def ways(self, outputs: Tensor, k: int) -> Tensor:
        return self.classes[:, None]


def least_likely(outputs: Tensor) -> Tensor:
    """(B,) int64 the classes of the smallest logits (B, K).

    The targets of the iterative least-likely class method (Kurakin et al. 2017, arXiv:1607.02533, section 2.3):
    `ClassifyAs(least_likely(target(images)))` under BIM.
    """
    return outputs.detach().argmin(dim=1)
