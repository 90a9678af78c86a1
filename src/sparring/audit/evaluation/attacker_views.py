"""From which points of view a target is attacked.

A model behind a defence has two: that of an attacker who does not know of the defence, and that of one who knows all
of it but the random draws. What the defence is worth is what it withstands in the second; the first stands beside it,
and no number is given without the second.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ...access import Decisions, Gradients
from ...errors import ConfigError
from ...goals import Goal
from ...targets import Audited, Classifier, Defended, Granting, Target
from ..plan import ACCESS, Plan
from .weights import weights_hash, within

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


def views(
    target: Target[Any], goal: Goal, images: Tensor, draws: int | None = None
) -> list[tuple[str, Target[Any]]]:
    """The views by name; without `draws`, `goal` at `images` tells how many a gradient through the defence takes.

    A classifier whose answers are random is a defence too. Any other target is its own and only view, without a name.
    """
    if isinstance(target, Classifier) and target.stochastic:
        target = Defended(target)
    if not isinstance(target, Defended):
        undrawn(target, draws)
        return [("", target)]
    return [(NAIVE, target.unaware()), (ADAPTIVE, target.audited(draws, goal=goal, images=images))]


def undrawn(target: Target[Any], draws: int | None) -> None:
    """ConfigError where draws are given, and there is no gradient of a random defence to average."""
    if draws is not None:
        raise ConfigError(
            f"draws={draws} averages gradients of a random defence, and {target.name} is asked for none; leave it out"
        )


def detects(view: Target[Any]) -> bool:
    """Does whoever has this view know of a detector?"""
    return isinstance(view, Audited) and view.defended.rejects


def weighed(view: Target[Any], weight: float) -> Target[Any]:
    """The view with another weight of the alarm in its joint loss; one that knows of no detector as it is."""
    return Audited(view.defended, view.draws, weight) if isinstance(view, Audited) and detects(view) else view


def ring_of(
    target: Target[Any], plan: Plan, goal: Goal, images: Tensor, surrogate: Target[Any] | None = None
) -> Ring:
    """The target as the plan grants it; a black box has one view."""
    if surrogate is not None:
        check_surrogate(surrogate, target)
    granted = narrowed(target, plan)
    if granted is not target or plan.access in ("decisions", "scores"):
        undrawn(granted, plan.draws)
        return Ring(granted, (("", granted),), surrogate)
    return Ring(target, tuple(views(target, goal, images, plan.draws)), surrogate)


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
