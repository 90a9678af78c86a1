"""The views of a target that attackers are given: the target itself, and the naive and adaptive view of a defence.

A model behind a defence has two: that of an attacker who does not know of the defence, and that of one who knows all
of it but the random draws. The robustness of a defence is the one measured in the second; the first is
reported beside it, and never alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ...access import ACCESS, Decisions, Gradients, Jacobians
from ...errors import ConfigError
from ...goals import Goal
from ...targets import AdaptiveView, Defended, Model, Pipeline, Restricted, Target
from ..plan import AuditPlan
from .clean_chunk import CleanChunk
from .weights import innermost_target, weights_hash

NAIVE, ADAPTIVE = "naive", "adaptive"


@dataclass(frozen=True)
class EvaluatedTarget:
    """The target that an audit evaluates, as it is used and as each attacker sees it.

    `target` is the deployed one, which confirms every example; `views` are what attacks are given, in their order; and
    transfer attacks make their examples on `surrogate`.
    """

    target: Target[Any]
    views: tuple[tuple[str, Target[Any]], ...]
    surrogate: Target[Any] | None = None

    @property
    def strongest(self) -> Target[Any]:
        """The last view, which is that of the strongest attacker."""
        return self.views[-1][1]

    @property
    def defended(self) -> bool:
        """Is the model behind a defence, or random?"""
        inside = self.target.target if isinstance(self.target, Restricted) else self.target
        return isinstance(inside, Defended) or inside.stochastic


def attacker_views(
    target: Target[Any], goal: Goal, images: Tensor, draws: int | None = None, context: Any = None
) -> list[tuple[str, Target[Any]]]:
    """List the views with their names; without `draws`, `goal` at `images` decides how many passes a gradient takes.

    A model whose answers are random is a defence too. Any other target is its own and only view, without a name.
    """
    bare = isinstance(target, Model | Pipeline) and not isinstance(target, Defended)
    if bare and target.stochastic and issubclass(target.access, Jacobians):
        target = Defended(target)
    if not isinstance(target, Defended):
        refuse_draws(target, draws)
        return [("", target)]
    return [
        (NAIVE, target.naive_view()),
        (ADAPTIVE, target.adaptive_view(draws, goal=goal, images=images, context=context)),
    ]


def refuse_draws(target: Target[Any], draws: int | None) -> None:
    """Raise ConfigError where draws are given, and there is no gradient of a random defence to average."""
    if draws is not None:
        raise ConfigError(
            f"draws={draws} averages gradients of a random defence, and {target.name} is asked for none; leave it out"
        )


def knows_detector(view: Target[Any]) -> bool:
    """Return whether attacks on this view must also pass a detector."""
    return isinstance(view, AdaptiveView) and view.defended.rejects


def with_alarm_weight(view: Target[Any], weight: float) -> Target[Any]:
    """Return the view with another weight of the alarm in its joint loss; unchanged where it knows no detector."""
    return (
        AdaptiveView(view.defended, view.draws, weight)
        if isinstance(view, AdaptiveView) and knows_detector(view)
        else view
    )


def evaluated_target(
    target: Target[Any], plan: AuditPlan, first: CleanChunk, surrogate: Target[Any] | None = None
) -> EvaluatedTarget:
    """Restrict the target to the access of the plan and list its views; a black box has one.

    `first` are inputs at which the views of a random defence measure what they need.
    """
    if surrogate is not None:
        check_surrogate(surrogate, target)
    granted = restricted(target, plan)
    if granted is not target or plan.access in ("decisions", "scores"):
        refuse_draws(granted, plan.draws)
        return EvaluatedTarget(granted, (("", granted),), surrogate)
    views = attacker_views(target, first.goal(), first.images, plan.draws, first.context)
    return EvaluatedTarget(target, tuple(views), surrogate)


def restricted(target: Target[Any], plan: AuditPlan) -> Target[Any]:
    """Return the target, restricted to the access of the plan."""
    if plan.access is None:
        return target
    wanted: type[Decisions] = ACCESS[plan.access]
    return target if issubclass(wanted, target.access) else Restricted(target, wanted)


def check_surrogate(surrogate: Target[Any], target: Target[Any]) -> None:
    """Raise ConfigError where examples made on the surrogate would say nothing."""
    if not issubclass(surrogate.access, Gradients):
        raise ConfigError(f"the surrogate {surrogate.name} gives no gradients; name a model of your own")
    if surrogate.task != target.task:
        raise ConfigError(
            f"the surrogate {surrogate.name} gives outputs of {task_name(surrogate)} and {target.name} of "
            f"{task_name(target)}; name a model of the same task"
        )
    own, theirs = weights_hash(innermost_target(surrogate)), weights_hash(innermost_target(target))
    if own is not None and own == theirs:
        raise ConfigError(
            f"the surrogate {surrogate.name} is the audited model itself: what transfers to it says nothing; name a "
            "model that was trained independently, or leave the surrogate out"
        )


def task_name(target: Target[Any]) -> str:
    """Return the name of the target's task as messages give it; "no task" where the target has none."""
    return "no task" if target.task is None else target.task.name
