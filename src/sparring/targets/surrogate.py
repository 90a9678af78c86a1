"""Grey box: the victim is asked, and another model of the same kind says where to climb."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ..access import Jacobians, Paired, Scores
from ..errors import TargetError
from .target import Target


class Surrogate(Target[Jacobians]):
    """The victim's answers with a surrogate's gradients, for every white-box attack.

    Args:
        victim: judges; each question, also one for a gradient, is one query to it.
        own: the attacker's model, of the same classes, which is climbed.

    What is not asked of the victim (a whole attack on `own`, tried on the victim at the end) needs no surrogate:
    `run(attack, own, goal, x, keep=Keep.WORST)`, then `run(..., start=examples)`.
    """

    def __init__(self, victim: Target[Scores], own: Target[Jacobians]) -> None:
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

    def __call__(self, images: Tensor) -> Any:
        if not (torch.is_grad_enabled() and images.requires_grad):
            return self.victim(images)
        with torch.no_grad():
            judged = self.victim(images.detach())
        climbed = self.own(images)
        if judged.shape != climbed.shape:
            raise TargetError(
                f"{self.victim.name} gives {tuple(judged.shape)} and {self.own.name} {tuple(climbed.shape)}; a "
                "surrogate has the victim's classes"
            )
        return Paired(judged, climbed)

    def check(self, outputs: Any) -> None:
        self.victim.check(outputs)

    def identity(self) -> tuple[object, ...]:
        return ("surrogate", *self.victim.identity(), *self.own.identity())

    @contextmanager
    def frozen(self) -> Iterator[None]:
        with self.victim.frozen(), self.own.frozen():
            yield
