"""The oracles, which are all that an attack sees of a target: Decisions < Scores < Gradients < Jacobians.

A row is one image of the batch under attack. An oracle covers the rows that are still attacked, in their present
order. Every query may pass `rows`: non-decreasing indices (Q,) of the row that each of its Q images belongs to; without
them it has one image per row. A row whose budget is used up, or that has succeeded already, gets no answer, but False,
or a margin and a loss of -inf. That is harmless, because such a row leaves the search at the end of the step.
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
    """Return the margin, as the objective of an attack that ascends it."""
    return verdict.margin


@dataclass(frozen=True)
class Gradient:
    """The answer to a gradient query."""

    verdict: Verdict
    value: FloatPerRow  # the objective
    grad: VariableBatch  # d sum(value) / d variable; zero where it was not finite
    images: FloatBatch  # the images that were queried: render(variable)


@dataclass(frozen=True)
class Decoupled:
    """Outputs of two models: one decides on success, the other gives the gradient (see `Surrogate`)."""

    judged_outputs: Any
    gradient_outputs: Any


@dataclass(frozen=True)
class Jacobian:
    """The margins of the k nearest rivals (of a classifier: other classes), and their gradients."""

    verdict: Verdict
    margins: FloatPerWay  # (B, k)
    grads: FloatStack  # (B, k, ...)


# Answers a gradient query in place of the oracle, its first argument; then: variable, render, objective, loss, rows.
GradientTransform = Callable[
    ["Gradients", Tensor, Render | None, Objective | None, Climb | None, Tensor | None], Gradient
]


class Decisions:
    """Tells for each image whether the attack succeeds, and nothing else (decision-based attacks).

    An oracle also has the region that each row must stay in, and the key of its random draws: no state holds them.
    """

    __slots__ = ("_broker", "_key")

    def __init__(self, broker: QueryBroker, key: Key | None = None) -> None:
        self._broker, self._key = broker, key

    @property
    def region(self) -> Region:
        """The feasible set of each row around its input: ball, valid range, mask and radius."""
        return self._broker.region

    @property
    def key(self) -> Key:
        """The key of each row's random draws."""
        return self._broker.key if self._key is None else self._key

    def with_key(self, key: Key) -> Self:
        """Return the same oracle with another `key`, which has one index per row, for an attack inside this one."""
        return type(self)(self._broker, key)

    def decide(self, x: FloatBatch, rows: IntPerRow | None = None) -> BoolPerRow:
        """Return (Q,) bool: does the attack succeed with image q?"""
        return self._broker.score(x, rows).margin > 0

    def open(self) -> BoolPerRow:
        """Return (B,) bool: rows that still get answers, since their budget is left and they have not succeeded."""
        return self._broker.open()

    if not TYPE_CHECKING:  # a type checker that saw it would let every name pass

        def __getattr__(self, name: str) -> NoReturn:
            raise AccessError(
                f"the attack asks for {name!r} and was granted {type(self).__name__} only; "
                "declare the access it needs in its type, Attack[Access, State]"
            )


class Scores(Decisions):
    """Gives margins and losses, without gradients (score-based attacks)."""

    __slots__ = ()

    def score(self, x: FloatBatch, rows: IntPerRow | None = None) -> Verdict:
        """Return the margin and the loss of each image."""
        return self._broker.score(x, rows)


class Gradients(Scores):
    """Gives scores and gradients of the loss.

    `loss` is ascended where a query passes no loss of its own; gradient queries go through the `transforms`, the last
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
        """The loss that is ascended where a query passes none, with one entry per row."""
        return self._broker.goal.loss if self._loss is None else self._loss

    def with_loss(self, loss: Climb) -> Self:
        """Return the same oracle with another default `loss`, which has one entry per row."""
        return type(self)(self._broker, self._key, loss, self._transforms)

    def with_gradient_transform(self, transform: GradientTransform) -> Self:
        """Return the same oracle with its gradient queries answered by `transform`, which is given this oracle."""
        return type(self)(self._broker, self._key, self._loss, (*self._transforms, transform))

    def rivals(self, x: FloatBatch, k: int, rows: IntPerRow | None = None) -> IntPerWay:
        """Return (Q, <= k) int64: the nearest rivals, nearest first, as indices into the goal's terms.

        For `Misclassify` they are the classes with the highest logits but the label. A targeted goal has one rival.
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
        """Return the gradient of objective(verdict, images) with respect to `variable`, images = render(variable).

        `render` defaults to the identity, `objective` to the verdict's loss; `loss` takes the place of the goal's own,
        with one entry per image of the query. The answer is recorded for the images, not for the variable.
        """
        if self._transforms:
            inner = type(self)(self._broker, self._key, self._loss, self._transforms[:-1])
            return self._transforms[-1](inner, variable, render, objective, loss, rows)
        if loss is None and self._loss is not None:
            loss = self._loss if rows is None else take(self._loss, rows)
        return self._broker.gradient(variable, render, objective, loss, rows)


class Jacobians(Gradients):
    """Also gives the gradients of several margins at once, as DeepFool and FAB need them."""

    __slots__ = ()

    def jacobian(self, x: FloatBatch, k: int, rows: IntPerRow | None = None) -> Jacobian:
        """Return the margins of the k nearest rivals and their gradients; fewer where there are fewer rivals."""
        return self._broker.jacobian(x, k, rows)


# what an attacker may ask, by its word
ACCESS: dict[str, type[Decisions]] = {
    "decisions": Decisions,
    "scores": Scores,
    "gradients": Gradients,
    "jacobians": Jacobians,
}
