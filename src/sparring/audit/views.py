"""From which points of view a target is attacked.

A model behind a defence has two: that of an attacker who does not know of the defence, and that of one who knows all
of it but the random draws. What the defence is worth is what it withstands in the second; the first stands beside it,
and no number is given without the second.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..access import Decisions, Gradients
from ..errors import ConfigError
from ..goals import Goal
from ..targets import Classifier, Defended, Granting, Target
from .plan import ACCESS, Plan
from .provenance import weights_hash, within

NAIVE, ADAPTIVE = "naive", "adaptive"


@dataclass(frozen=True)
class Ring:
    """All that an audit asks.

    `target` is in use and judges, `views` are what attacks are given, in their order, and examples are carried over
    from `surrogate`.
    """

    target: Target[Any]
    views: tuple[tuple[str, Target[Any]], ...]
    surrogate: Target[Any] | None = None

    @property
    def strongest(self) -> Target[Any]:
        """The view of the attacker who knows most."""
        return self.views[-1][1]

    @property
    def defended(self) -> bool:
        """Is there a defence around the model, or randomness in it?"""
        inside = self.target.target if isinstance(self.target, Granting) else self.target
        return isinstance(inside, Defended) or inside.stochastic


def views(target: Target[Any], goal: Goal, images: Tensor) -> list[tuple[str, Target[Any]]]:
    """The views by name; `goal` at `images` tells how many draws a gradient through the defence takes.

    A classifier whose answers are random is a defence too. Any other target is its own and only view, without a name.
    """
    if isinstance(target, Classifier) and target.stochastic:
        target = Defended(target)
    if not isinstance(target, Defended):
        return [("", target)]
    return [(NAIVE, target.unaware()), (ADAPTIVE, target.audited(goal=goal, images=images))]


def ring_of(
    target: Target[Any], plan: Plan, goal: Goal, images: Tensor, surrogate: Target[Any] | None = None
) -> Ring:
    """The target as the plan grants it; a black box has one view."""
    if surrogate is not None:
        check_surrogate(surrogate, target)
    granted = narrowed(target, plan)
    if granted is not target or plan.access in ("decisions", "scores"):
        return Ring(granted, (("", granted),), surrogate)
    return Ring(target, tuple(views(target, goal, images)), surrogate)


def narrowed(target: Target[Any], plan: Plan) -> Target[Any]:
    """The target, narrowed to the access of the plan."""
    if plan.access is None:
        return target
    wanted: type[Decisions] = ACCESS[plan.access]
    return target if issubclass(wanted, target.access) else Granting(target, wanted)


def check_surrogate(surrogate: Target[Any], target: Target[Any]) -> None:
    """ConfigError where examples made on the surrogate would say nothing."""
    if not issubclass(surrogate.access, Gradients):
        raise ConfigError(f"the surrogate {surrogate.name} gives no gradients; name a model of your own")
    own, theirs = weights_hash(within(surrogate)), weights_hash(within(target))
    if own is not None and own == theirs:
        raise ConfigError(
            f"the surrogate {surrogate.name} is the audited model itself: what transfers to it says nothing; name a "
            "model that was trained independently, or leave the surrogate out"
        )
