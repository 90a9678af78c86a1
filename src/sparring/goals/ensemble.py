"""The goal of fooling several models at once, each by a goal of its own (Dong et al. 2018, arXiv:1710.06081, sec. 3.3).

    loss    sum_k w_k loss_k(outputs of model k)
    margin  min_k margin_k

So models need not answer alike: embeddings of other dimensions, compared in other ways, have templates of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import torch

from ..errors import GoalError
from ..shapes import FloatPerRow
from .climbs import Climb
from .goal import Goal
from .terms import Terms


@dataclass(frozen=True)
class MemberOutputs:
    """The outputs of several models for the same B inputs: those of the first, and those of the others."""

    first: Any
    others: MemberOutputs | None = None

    @classmethod
    def of(cls, outputs: list[Any]) -> MemberOutputs:
        """Return the outputs of one or more models as a record."""
        return cls(outputs[0], cls.of(outputs[1:]) if len(outputs) > 1 else None)

    def parts(self) -> list[Any]:
        """Return the outputs of each model."""
        return [self.first, *(self.others.parts() if self.others is not None else [])]


@dataclass(frozen=True, init=False)
class FoolMembers(Goal):
    """The goal of meeting `goals`, one for each member of an ensemble with fuse="losses", all at once.

        both = FoolMembers(Dodge(template, -0.57, metric="euclidean"), Dodge(other_template, 0.59))
        run(MIFGSM(Linf(8 / 255)), Ensemble([one, other], fuse="losses"), both, images, keep="highest-loss")

    Args:
        goals: one for each member, in their order, of the same inputs.
        weights: of their losses; None: 1 each. An ensemble sets its own.

    Losses are added up as each goal has them: their units are those of the goals' margins, so that a distance counts
    otherwise than a cosine. An attack that names a loss ascends it in each.

    Raises: GoalError for what is no goal, or goals of different length.
    """

    first: Goal
    others: FoolMembers | None
    weight: float

    def __init__(
        self,
        *goals: Goal,
        weights: tuple[float, ...] | None = None,
        first: Goal | None = None,
        others: FoolMembers | None = None,
        weight: float = 1.0,
    ) -> None:
        if goals:
            for goal in goals:
                if not isinstance(goal, Goal):
                    raise GoalError(f"a {type(goal).__name__} is no goal; pass one for each member, as Dodge(...)")
            counts = {len(goal) for goal in goals}
            if len(counts) > 1:
                raise GoalError(f"the goals of the members are of {sorted(counts)} inputs; pass them for the same ones")
            weights = (1.0,) * len(goals) if weights is None else weights
            if len(weights) != len(goals):
                raise GoalError(f"{len(weights)} weights for {len(goals)} goals; pass one for each")
            first, weight = goals[0], weights[0]
            others = FoolMembers(*goals[1:], weights=weights[1:]) if len(goals) > 1 else None
        if first is None:
            raise GoalError("the goal of an ensemble of no members; pass one goal for each")
        for name, value in (("first", first), ("others", others), ("weight", float(weight))):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "loss", first.loss)

    def __len__(self) -> int:
        return len(self.first)

    @property
    def goals(self) -> tuple[Goal, ...]:
        """The goals of the members, in their order."""
        return (self.first, *(self.others.goals if self.others is not None else ()))

    @property
    def weights(self) -> tuple[float, ...]:
        """The weights of the members' losses."""
        return (self.weight, *(self.others.weights if self.others is not None else ()))

    def terms(self, outputs: MemberOutputs) -> Terms:
        """Return the margins of the members (B, M), all of which are needed."""
        both = zip(self.goals, outputs.parts(), strict=True)
        return Terms(torch.stack([goal.margin(part) for goal, part in both], dim=1), every=True)

    def loss_of(self, outputs: MemberOutputs, climb: Climb | None = None) -> FloatPerRow:
        """Return the sum (B,) of the members' losses by their weights; `climb` in place of each one's own."""
        both = zip(self.weights, self.goals, outputs.parts(), strict=True)
        return torch.stack([weight * goal.loss_of(part, climb) for weight, goal, part in both]).sum(0)

    def check(self, outputs: MemberOutputs, all_rows: Self) -> None:
        """Raise what the goal of a member raises on its outputs; GoalError for those of another number of members."""
        parts = outputs.parts() if isinstance(outputs, MemberOutputs) else None
        if parts is None or len(parts) != len(self.goals):
            got = "one answer" if parts is None else f"those of {len(parts)} members"
            raise GoalError(f"FoolMembers has {len(self.goals)} goals, and got {got}; use Ensemble(fuse='losses')")
        for goal, part, whole in zip(self.goals, parts, all_rows.goals, strict=True):
            goal.check(part, whole)
