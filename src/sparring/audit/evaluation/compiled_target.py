"""How the search is made faster: `torch.compile` of the model. What is found is confirmed by the model as it was."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ...access import Jacobians
from ...errors import ConfigError
from ...targets import Classifier, Granting, Target
from ..plan import Plan
from .attacker_views import Ring
from .weights import within


class Compiled(Granting[Jacobians]):
    """A classifier whose module is compiled, for any number of images; the eager one judges."""

    def __init__(self, eager: Classifier) -> None:
        fast = copy(eager)
        fast.model = torch.compile(eager.model, dynamic=True)
        super().__init__(fast, Jacobians)
        self.eager = eager

    @property
    def deployed(self) -> Target[Any]:
        return self.eager

    def identity(self) -> tuple[object, ...]:
        return ("compiled", *self.eager.identity())

    def __reduce__(self) -> tuple[type[Compiled], tuple[Classifier]]:
        return Compiled, (self.eager,)


def hastened(ring: Ring, plan: Plan) -> Ring:
    """The ring with what the plan says of compiling; ConfigError where there is no deterministic module to compile."""
    if not plan.compile:
        return ring
    ((name, target),) = ring.views if len(ring.views) == 1 else (("", None),)
    if not isinstance(target, Classifier) or not isinstance(target.model, nn.Module) or target.stochastic:
        raise ConfigError(
            f"compile=True serves a torch.nn.Module that is asked for gradients, and {ring.target.name} is none, or "
            "stands behind a defence; leave compile out"
        )
    return replace(ring, views=((name, Compiled(target)),))


def precision(target: Target[Any], plan: Plan) -> str:
    """What the search and what the confirmation are computed in."""
    model = getattr(within(target), "model", None)
    weights = [*model.parameters(), *model.buffers()] if isinstance(model, nn.Module) else []
    kinds = {str(one.dtype).removeprefix("torch.") for one in weights if one.is_floating_point()}
    own = ", ".join(sorted(kinds)) or "float32"
    ways = ([] if plan.precision == "float32" else [f"autocast to {plan.precision}"]) + ["compiled"] * plan.compile
    return f"{own}; the search {' and '.join(ways)}, each success confirmed without" if ways else own
