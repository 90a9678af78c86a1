"""`Surrogate`: the victim answers the queries, and another model gives the gradients (grey box)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ..access import Decoupled, Jacobians, Scores
from ..errors import TargetError
from ..goals import DetectorOutputs, Goal
from ..inputs import Inputs
from ..random import Key
from ..shapes import FloatBatch
from ..tasks import Task
from .target import Target, answered


class Surrogate(Target[Jacobians]):
    """The victim's answers with a surrogate's gradients, for every white-box attack.

    Args:
        victim: judges; each question, also one for a gradient, is one query to it.
        own: the attacker's model, with the same classes, which gives the gradients.

    What is not asked of the victim (a whole attack on `own`, tried on the victim at the end) needs no surrogate:
    `run(attack, own, goal, x, keep=Keep.HIGHEST_LOSS)`, then `run(..., start=examples)`.
    """

    def __init__(self, victim: Target[Scores], own: Target[Jacobians]) -> None:
        for word, one in (("victim", victim), ("own", own)):
            if not isinstance(one, Target):
                raise TargetError(f"{word}={one!r:.60} is no target; wrap it: Surrogate(Classifier(model), ...)")
        if victim.task is not None and own.task is not None and type(victim.task) is not type(own.task):
            raise TargetError(
                f"{victim.name} gives the outputs of {victim.task.name}, and {own.name} those of {own.task.name}; a "
                "surrogate has the victim's task"
            )
        self.victim, self.own = victim, own

    @property
    def access(self) -> type[Jacobians]:
        return Jacobians

    @property
    def name(self) -> str:
        return f"{self.victim.name} (gradients of {self.own.name})"

    @property
    def device(self) -> torch.device:
        return self.own.device

    @property
    def inputs(self) -> Inputs:
        return self.victim.inputs

    @property
    def task(self) -> Task | None:
        return self.victim.task

    @property
    def takes_context(self) -> bool:
        return self.victim.takes_context or self.own.takes_context

    @property
    def stochastic(self) -> bool:
        return self.victim.stochastic or self.own.stochastic

    @property
    def draws(self) -> int:
        return max(self.victim.draws, self.own.draws)

    @property
    def confirming_target(self) -> Target[Any]:
        return self.victim.confirming_target

    def adapt_goal(self, goal: Goal) -> Goal:
        return self.victim.adapt_goal(goal)

    def __call__(self, images: FloatBatch, key: Key | None = None, context: Any = None) -> Any:
        beside, with_own = (context if one.takes_context else None for one in (self.victim, self.own))
        if not (torch.is_grad_enabled() and images.requires_grad):
            return answered(self.victim, images, key, beside)
        with torch.no_grad():
            judged = answered(self.victim, images.detach(), key, beside)
        climbed = answered(self.own, images, key, with_own)
        climbed = climbed.gradient_outputs if isinstance(climbed, Decoupled) else climbed
        theirs, own = (one.outputs if isinstance(one, DetectorOutputs) else one for one in (judged, climbed))
        if not isinstance(judged, DetectorOutputs):
            climbed = own
        elif not isinstance(climbed, DetectorOutputs):
            climbed = DetectorOutputs(own, torch.zeros_like(judged.alarm))
        if isinstance(theirs, Tensor) and isinstance(own, Tensor) and theirs.shape != own.shape:
            raise TargetError(
                f"{self.victim.name} gives {tuple(theirs.shape)} and {self.own.name} {tuple(own.shape)}; a "
                "surrogate has the victim's classes"
            )
        return Decoupled(judged, climbed)

    def check(self, outputs: Any) -> None:
        self.victim.check(outputs)

    def identity(self) -> tuple[object, ...]:
        return ("surrogate", *self.victim.identity(), *self.own.identity())

    @contextmanager
    def frozen(self) -> Iterator[None]:
        with self.victim.frozen(), self.own.frozen():
            yield
