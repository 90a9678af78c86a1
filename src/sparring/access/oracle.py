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

from jaxtyping import Float
from torch import Tensor

from ..errors import AccessError
from ..geometry.region import Region
from ..goals import Climb, Verdict
from ..random import Key
from ..rows import take
from ..shapes import BoolPerRow, FloatBatch, FloatPerRow, FloatPerWay, FloatStack, IntPerRow, IntPerWay

if TYPE_CHECKING:
    from .query_broker import QueryBroker

VariableBatch = Float[Tensor, "batch *variable"]  # what is rendered into images: of any shape, a row for each
Render = Callable[[Tensor], Tensor]
Objective = Callable[[Verdict, Tensor], Tensor]


def margin_objective(verdict: Verdict, images: FloatBatch) -> FloatPerRow:
    """The objective of an attack that climbs the margin itself."""
    return verdict.margin


@dataclass(frozen=True)
class Gradient:
    """An answer with its slope."""

    verdict: Verdict
    value: FloatPerRow  # the objective
    grad: VariableBatch  # d sum(value) / d variable; zero where it was not finite
    images: FloatBatch  # what was asked about: render(variable)


@dataclass(frozen=True)
class Decoupled:
    """What a target returns whose slopes are another model's: who has won, and where to climb."""

    judged_outputs: Any
    gradient_outputs: Any


@dataclass(frozen=True)
class Jacobian:
    """The margins of the nearest ways to win, and their gradients."""

    verdict: Verdict
    margins: FloatPerWay  # (B, k)
    grads: FloatStack  # (B, k, ...)


# Answers a question for a gradient in the oracle's place, which it may ask: variable, render, objective, loss, rows.
GradientTransform = Callable[
    ["Gradients", Tensor, Render | None, Objective | None, Climb | None, Tensor | None], Gradient
]


class Decisions:
    """Has the attacker won? Nothing else.

    Beside its answers an oracle says where each row in play may go, and gives the key of the row's randomness: no state
    holds them.
    """

    __slots__ = ("_broker", "_key")

    def __init__(self, broker: QueryBroker, key: Key | None = None) -> None:
        self._broker, self._key = broker, key

    @property
    def region(self) -> Region:
        """Where each row in play may go, around its input: ball, range, mask and radius."""
        return self._broker.region

    @property
    def key(self) -> Key:
        """The key of each row's randomness."""
        return self._broker.key if self._key is None else self._key

    def with_key(self, key: Key) -> Self:
        """The same oracle for an attack that shall draw from `key`, which has one id per row in play."""
        return type(self)(self._broker, key)

    def decide(self, x: FloatBatch, rows: IntPerRow | None = None) -> BoolPerRow:
        """(Q,) bool: has the attacker won with image q?"""
        return self._broker.score(x, rows).margin > 0

    def open(self) -> BoolPerRow:
        """(B,) bool: which rows still get answers."""
        return self._broker.open()

    if not TYPE_CHECKING:  # a type checker that saw it would let every name pass

        def __getattr__(self, name: str) -> NoReturn:
            raise AccessError(
                f"the attack asks for {name!r} and was granted {type(self).__name__} only; "
                "declare the access it needs in its type, Attack[Access, State]"
            )


class Scores(Decisions):
    """Margins and losses, without slopes."""

    __slots__ = ()

    def score(self, x: FloatBatch, rows: IntPerRow | None = None) -> Verdict:
        """The verdict of each image."""
        return self._broker.score(x, rows)


class Gradients(Scores):
    """Scores and first derivatives.

    `loss` is what is climbed where a question names no loss of its own; gradients go through the `transforms`, the last
    first.
    """

    __slots__ = ("_loss", "_transforms")

    def __init__(
        self,
        broker: QueryBroker,
        key: Key | None = None,
        loss: Climb | None = None,
        transforms: tuple[GradientTransform, ...] = (),
    ) -> None:
        super().__init__(broker, key)
        self._loss, self._transforms = loss, transforms

    def with_key(self, key: Key) -> Self:
        return type(self)(self._broker, key, self._loss, self._transforms)

    @property
    def loss(self) -> Climb:
        """What is climbed where a question names no loss, one entry per row in play."""
        return self._broker.goal.loss if self._loss is None else self._loss

    def with_loss(self, loss: Climb) -> Self:
        """The same oracle for an attack that shall climb `loss`, one entry per row in play."""
        return type(self)(self._broker, self._key, loss, self._transforms)

    def asked_through(self, transform: GradientTransform) -> Self:
        """The same oracle with gradients that `transform` answers, to which this oracle is given."""
        return type(self)(self._broker, self._key, self._loss, (*self._transforms, transform))

    def rivals(self, x: FloatBatch, k: int, rows: IntPerRow | None = None) -> IntPerWay:
        """(Q, <= k) int64: the places among the terms of the nearest ways to win, nearest first.

        Of a classifier that is left, places are classes. Where every term is needed there is one way to win.
        """
        return self._broker.nearest_rivals(x, k, rows)

    def gradient(
        self,
        variable: VariableBatch,
        *,
        render: Render | None = None,
        objective: Objective | None = None,
        loss: Climb | None = None,
        rows: IntPerRow | None = None,
    ) -> Gradient:
        """The gradient of objective(verdict, images) with respect to `variable`, images = render(variable).

        `render` defaults to the identity, `objective` to the verdict's loss; `loss` takes the place of the goal's own,
        with one entry per image of the question. The answer is recorded for the images, not for the variable.
        """
        if self._transforms:
            inner = type(self)(self._broker, self._key, self._loss, self._transforms[:-1])
            return self._transforms[-1](inner, variable, render, objective, loss, rows)
        if loss is None and self._loss is not None:
            loss = self._loss if rows is None else take(self._loss, rows)
        return self._broker.gradient(variable, render, objective, loss, rows)


class Jacobians(Gradients):
    """Gradients of several margins at once."""

    __slots__ = ()

    def jacobian(self, x: FloatBatch, k: int, rows: IntPerRow | None = None) -> Jacobian:
        """Margins and gradients of the k nearest ways to win; fewer where the task has fewer."""
        return self._broker.jacobian(x, k, rows)
