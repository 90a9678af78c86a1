"""What has to be proven of the logits so that a goal cannot be met, as linear functions of them.

Misclassify(y)   z_y - z_k > 0  for every other class k
ClassifyAs(t)    z_k - z_t > 0  for some other class k
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import GoalError
from ...goals import ClassifyAs, Goal, Misclassify


@dataclass(frozen=True)
class Specification:
    """Linear functions of the logits, of which all or any must be positive in the whole region.

    Args:
        functions: (B, K - 1, K) their coefficients.
        rivals: (B, K - 1) the class k of each.
        every: all are needed; else one suffices.
    """

    functions: Tensor
    rivals: Tensor
    every: bool

    def take(self, rows: Tensor) -> Specification:
        """Return the specification of these rows."""
        return Specification(self.functions[rows], self.rivals[rows], self.every)

    def margin(self, lower: Tensor) -> Tensor:
        """Return (B,) from lower bounds (B, K - 1) that of what is to be proven: the least, or the greatest."""
        return lower.amin(1) if self.every else lower.amax(1)


def check_goal(goal: Goal) -> None:
    """Raise GoalError for a goal other than Misclassify and ClassifyAs."""
    if not isinstance(goal, Misclassify | ClassifyAs):
        raise GoalError(f"certificates are for Misclassify and ClassifyAs, not for {type(goal).__name__}; pass one")


def specification(goal: Goal, classes: int, dtype: torch.dtype, device: torch.device) -> Specification:
    """Return the specification that no attack with this goal succeeds; the goal's classes are those of the network."""
    assert isinstance(goal, Misclassify | ClassifyAs)
    own = goal.classes.to(device)
    others = torch.arange(classes, device=device).expand(len(own), classes)
    rivals = others[others != own[:, None]].view(len(own), classes - 1)
    eye = torch.eye(classes, dtype=dtype, device=device)
    functions = eye[own][:, None] - eye[rivals]
    return Specification(functions if not goal.every else -functions, rivals, not goal.every)
