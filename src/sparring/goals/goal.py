"""A goal says of a batch of outputs whether the attacker has won, and what a gradient should climb."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from ..errors import GoalError


@dataclass(frozen=True)
class Verdict:
    """What a goal says of a batch of outputs, row by row."""

    margin: Tensor  # (B,) > 0 exactly where the attacker has won
    loss: Tensor  # (B,) what a first-order attack ascends


class Goal(ABC):
    """What the attacker wants. The only room that knows the task; its rows follow the images' rows."""

    @abstractmethod
    def margin(self, outputs: Any) -> Tensor:
        """(B,) of the outputs of as many images as the goal has rows: > 0 exactly where the attacker has won."""

    def ascent(self, outputs: Any) -> Tensor:
        """(B,) what a first-order attack climbs, unless it asks for another loss."""
        return self.margin(outputs)

    def sloped(self, outputs: Any) -> tuple[Tensor, Tensor] | None:
        """`ascent` (B,) and d sum(ascent) / d outputs, where the slope is known in closed form; None: ask autograd."""
        return None

    def __call__(self, outputs: Any) -> Verdict:
        return Verdict(self.margin(outputs), self.ascent(outputs))

    @abstractmethod
    def __len__(self) -> int:
        """How many images the goal speaks of."""

    @abstractmethod
    def take(self, rows: Tensor) -> Self:
        """The goal of the chosen rows: indices (Q,) with repetition, or a (B,) mask."""

    def to(self, device: torch.device) -> Self:
        """The goal with its tensors on `device`."""
        return self

    def check(self, outputs: Any, all_rows: Self) -> None:
        """Raise where `all_rows`, the goal of the whole data set, cannot be judged on such outputs."""
        return

    def rivals(self, outputs: Any, k: int) -> Tensor:
        """(B, <= k) margins, each a way to win: the attacker has won where any is positive."""
        return self.margin(outputs)[:, None]

    def ways(self, outputs: Any, k: int) -> Tensor:
        """(B, <= k) int64: what the task calls the ways that `rivals` measures, in the same order."""
        return torch.zeros(len(self), 1, dtype=torch.long, device=self.margin(outputs).device)

    def remark(self, outputs: Any) -> str | None:
        """What a caller must be told about the climb on such outputs: a fallback, for instance."""
        return None

    def steered_by(self, loss: Any) -> Self:
        """The same judge with another loss to climb; GoalError where the task has no such loss."""
        raise GoalError(f"{type(self).__name__} cannot be steered by {loss}; use the goal's own loss")
