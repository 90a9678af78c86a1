"""The goal of a variable shared by many scenes: a patch fools most of the scenes it is put into."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..errors import GoalError
from .climbs import Climb, CrossEntropy
from .share import ShareGoal, check_share
from .terms import Terms


@dataclass(frozen=True)
class SceneTerms:
    """The outputs of S scenes for each of B variables: the terms (B, S, K) of the scenes' own goals."""

    values: Tensor
    every: bool


@dataclass(frozen=True)
class FoolScenes(ShareGoal):
    """Success: the goal of the scenes is met in at least `share` of the drawn scenes.

    Args:
        rows: (B,), one entry for each variable: only their number counts.
        share: of the scenes, in (0, 1].
        loss: climbed in the mean over the scenes by attacks that name none.
    """

    rows: Tensor
    share: float = 0.8
    loss: Climb = field(default_factory=CrossEntropy)

    def __len__(self) -> int:
        return len(self.rows)

    def parts(self, outputs: SceneTerms) -> tuple[Terms, Tensor]:
        values = outputs.values
        counted = torch.ones(values.shape[:2], dtype=torch.bool, device=values.device)
        return Terms(values.flatten(0, 1), outputs.every), counted

    def check(self, outputs: SceneTerms, all_rows: FoolScenes) -> None:
        """Raise GoalError where the share is none."""
        if not check_share(self.share):
            raise GoalError(f"share={self.share} of the scenes; pass a number above 0 and at most 1")
