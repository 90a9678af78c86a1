"""The goal of one variable that many scenes share: a patch that fools most of the scenes it is put into."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import GoalError
from ..shapes import BoolSites, PerRow
from .climbs import Climb, ScaledCrossEntropy
from .share import ShareGoal, check_share
from .terms import Terms

ScenesTerms = Float[Tensor, "batch scenes terms"]


@dataclass(frozen=True)
class SceneTerms:
    """The answers of S scenes for each of B variables: the terms (B, S, K) of their own goals.

    `loss_values` are the terms that losses are made of, where the goal has others for that (`Goal.loss_terms`).
    """

    values: ScenesTerms
    every: bool
    loss_values: ScenesTerms | None = None


@dataclass(frozen=True)
class FoolScenes(ShareGoal):
    """The goal that the scenes' own goals are met in at least `share` of those that are drawn.

    Args:
        rows: (B,), one entry for each variable: only their number counts.
        share: of the scenes, in (0, 1].
        loss: what attacks ascend that name no loss of their own, in the mean over the scenes.
    """

    rows: PerRow
    share: float = 0.8
    loss: Climb = field(default_factory=ScaledCrossEntropy)

    def __post_init__(self) -> None:
        if not isinstance(self.rows, Tensor) or self.rows.ndim != 1:
            raise GoalError(f"FoolScenes rows={self.rows!r:.80}; pass a tensor (B,), as torch.zeros(1) for one patch")

    def __len__(self) -> int:
        return len(self.rows)

    def parts(self, outputs: SceneTerms) -> tuple[Terms, BoolSites]:
        """Return the terms of all scenes, values (B * S, K), all of which count, (B, S) bool."""
        return _parts(outputs.values, outputs.every)

    def loss_parts(self, outputs: SceneTerms) -> tuple[Terms, BoolSites]:
        """Return the same of the terms that losses are made of."""
        values = outputs.values if outputs.loss_values is None else outputs.loss_values
        return _parts(values, outputs.every)

    def check(self, outputs: SceneTerms, all_rows: FoolScenes) -> None:
        """Raise GoalError for outputs of another target, and for a share outside (0, 1]."""
        if not isinstance(outputs, SceneTerms):
            raise GoalError("FoolScenes is a goal of OverScenes; pass that as the target, or the goal of its task")
        if not check_share(self.share):
            raise GoalError(f"share={self.share} of the scenes; pass a number above 0 and at most 1")


def _parts(values: ScenesTerms, every: bool) -> tuple[Terms, BoolSites]:
    counted = torch.ones(values.shape[:2], dtype=torch.bool, device=values.device)
    return Terms(values.flatten(0, 1), every), counted
