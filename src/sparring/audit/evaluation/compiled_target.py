"""`torch.compile` of the attacked model; successes are confirmed on the model that was not compiled."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ...access import Jacobians
from ...errors import ConfigError
from ...targets import Model, Restricted, Target
from ..plan import AuditPlan
from .attacker_views import EvaluatedTarget
from .weights import innermost_target


class CompiledModel(Restricted[Jacobians]):
    """A model whose module is compiled, for any number of images; the eager one judges."""

    def __init__(self, eager: Model) -> None:
        fast = copy(eager)
        fast.model = torch.compile(eager.model, dynamic=True)
        super().__init__(fast, Jacobians)
        self.eager = eager

    @property
    def confirming_target(self) -> Target[Any]:
        return self.eager

    def identity(self) -> tuple[object, ...]:
        return ("compiled", *self.eager.identity())

    def __reduce__(self) -> tuple[type[CompiledModel], tuple[Model]]:
        return CompiledModel, (self.eager,)


def compile_views(evaluated: EvaluatedTarget, plan: AuditPlan) -> EvaluatedTarget:
    """Compile the view if the plan says so; ConfigError where there is no deterministic module to compile."""
    if not plan.compile:
        return evaluated
    ((name, target),) = evaluated.views if len(evaluated.views) == 1 else (("", None),)
    if not isinstance(target, Model) or not isinstance(target.model, nn.Module) or target.stochastic:
        raise ConfigError(
            f"compile=True serves a torch.nn.Module that is asked for gradients, and {evaluated.target.name} is none, "
            "or stands behind a defence; leave compile out"
        )
    return replace(evaluated, views=((name, CompiledModel(target)),))


def describe_precision(target: Target[Any], plan: AuditPlan) -> str:
    """Say in words which precision the search and the confirmation are computed in."""
    model = getattr(innermost_target(target), "model", None)
    weights = [*model.parameters(), *model.buffers()] if isinstance(model, nn.Module) else []
    kinds = {str(one.dtype).removeprefix("torch.") for one in weights if one.is_floating_point()}
    own = ", ".join(sorted(kinds)) or "float32"
    ways = ([] if plan.precision == "float32" else [f"autocast to {plan.precision}"]) + ["compiled"] * plan.compile
    return f"{own}; the search {' and '.join(ways)}, each success confirmed without" if ways else own
