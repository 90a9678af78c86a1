"""What an attack may ask, as types: Decisions < Scores < Gradients < Jacobians.

An oracle speaks of the rows that are still in play, in their present order. Every question may name `rows`:
non-decreasing indices (Q,) that say which row each of the Q images belongs to; without it there is one image
per row. A row whose budget is spent, or that is already won, gets no answer: False, or a margin and a loss of
-inf. That is harmless, because such a row leaves the search at the end of the step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, Self

from torch import Tensor

from ..errors import AccessError
from ..goals import Loss, Verdict

if TYPE_CHECKING:
    from .desk import Desk

Render = Callable[[Tensor], Tensor]
Objective = Callable[[Verdict, Tensor], Tensor]


def margin_objective(verdict: Verdict, images: Tensor) -> Tensor:
    """The objective of an attack that climbs the margin itself."""
    return verdict.margin


@dataclass(frozen=True)
class Gradient:
    """An answer with its slope."""

    verdict: Verdict
    value: Tensor  # (B,) the objective
    grad: Tensor  # d sum(value) / d variable; zero where it was not finite
    images: Tensor  # what was asked about: render(variable)


@dataclass(frozen=True)
class Paired:
    """What a target returns whose slopes are another model's: who has won, and where to climb."""

    judged: Any
    climbed: Any


@dataclass(frozen=True)
class Jacobian:
    """The margins of the nearest ways to win, and their gradients."""

    verdict: Verdict
    margins: Tensor  # (B, k)
    grads: Tensor  # (B, k, C, H, W)


# Answers a question for a gradient in the oracle's place, which it may ask: variable, render, objective, steer, rows.
Detour = Callable[["Gradients", Tensor, Render | None, Objective | None, Loss | None, Tensor | None], Gradient]


class Decisions:
    """Has the attacker won? Nothing else."""

    __slots__ = ("_desk",)

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def decide(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """(Q,) bool: has the attacker won with image q?"""
        return self._desk.judge(x, rows).margin > 0

    def open(self) -> Tensor:
        """(B,) bool: which rows still get answers."""
        return self._desk.open()

    if not TYPE_CHECKING:  # a type checker that saw it would let every name pass

        def __getattr__(self, name: str) -> NoReturn:
            raise AccessError(
                f"the attack asks for {name!r} and was granted {type(self).__name__} only; "
                "declare the access it needs in its type, Attack[Access, State]"
            )


class Scores(Decisions):
    """Margins and losses, without slopes."""

    __slots__ = ()

    def score(self, x: Tensor, rows: Tensor | None = None) -> Verdict:
        """The verdict of each image."""
        return self._desk.judge(x, rows)


class Gradients(Scores):
    """Scores and first derivatives.

    `steer` is what is climbed where a question names no loss of its own; gradients take the `detours`, the last first.
    """

    __slots__ = ("_detours", "_steer")

    def __init__(self, desk: Desk, steer: Loss | None = None, detours: tuple[Detour, ...] = ()) -> None:
        super().__init__(desk)
        self._steer, self._detours = steer, detours

    def steered_by(self, loss: Loss) -> Self:
        """The same oracle for an attack that shall climb `loss`, one entry per row in play."""
        return type(self)(self._desk, loss, self._detours)

    def asked_through(self, detour: Detour) -> Self:
        """The same oracle with gradients that `detour` answers, to which this oracle is given."""
        return type(self)(self._desk, self._steer, (*self._detours, detour))

    def rivals(self, x: Tensor, k: int, rows: Tensor | None = None) -> Tensor:
        """(Q, <= k) int64: the nearest ways to win, nearest first; of a classifier, the classes."""
        return self._desk.rank(x, k, rows)

    def gradient(
        self,
        variable: Tensor,
        *,
        render: Render | None = None,
        objective: Objective | None = None,
        steer: Loss | None = None,
        rows: Tensor | None = None,
    ) -> Gradient:
        """The gradient of objective(verdict, images) with respect to `variable`, images = render(variable).

        `render` defaults to the identity, `objective` to the verdict's loss; `steer` replaces the loss that
        the goal climbs, with one entry per image of the question. The answer is recorded for the images, not for
        the variable.
        """
        if self._detours:
            inner = type(self)(self._desk, self._steer, self._detours[:-1])
            return self._detours[-1](inner, variable, render, objective, steer, rows)
        if steer is None and self._steer is not None:
            steer = self._steer if rows is None else self._steer.take(rows)
        return self._desk.climb(variable, render, objective, steer, rows)


class Jacobians(Gradients):
    """Gradients of several margins at once."""

    __slots__ = ()

    def jacobian(self, x: Tensor, k: int, rows: Tensor | None = None) -> Jacobian:
        """Margins and gradients of the k nearest ways to win; fewer where the task has fewer."""
        return self._desk.differ(x, k, rows)
