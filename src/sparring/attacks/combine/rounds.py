"""Attacks one after another on the rows that still stand, each from its own beginning.

What all attacks made of attacks have in common: the round a step belongs to, and the hand-over between rounds.
"""

from __future__ import annotations

from abc import abstractmethod
from bisect import bisect_right
from dataclasses import dataclass, replace
from functools import reduce
from itertools import accumulate
from operator import or_
from typing import Any, Generic, TypeVar

from torch import Tensor

from ...access import Attack, Batch, Decisions, Keep
from ...geometry import Ball
from ...geometry.region import Region

A = TypeVar("A", bound=Decisions, contravariant=True)
S = TypeVar("S")
D = TypeVar("D", bound=Decisions)


@dataclass(frozen=True)
class Round(Generic[S]):
    """The state of the attack of the present round, and the number of the round."""

    inner: S
    number: int


class Rounds(Attack[A, Round[S]]):
    """`parts` in turn, each with randomness of its own."""

    @property
    @abstractmethod
    def parts(self) -> tuple[Attack[A, S], ...]:
        """The attack of each round."""

    def check(self, region: Region) -> None:
        for part in self.parts:
            part.check(region)

    @property
    def access(self) -> type[Decisions]:
        return max((part.access for part in self.parts), key=lambda access: len(access.__mro__))

    @property
    def state(self) -> Any:
        states: Any = reduce(or_, dict.fromkeys(part.state for part in self.parts))
        return Round[states]

    @property
    def keep(self) -> Keep:
        return self.parts[0].keep

    @property
    def confidence(self) -> float:
        return self.parts[0].confidence

    @property
    def ball(self) -> Ball:
        return self.parts[0].ball

    @property
    def queries_outside_ball(self) -> bool:
        return any(part.queries_outside_ball for part in self.parts)

    @property
    def accepts_start(self) -> bool:
        return self.parts[0].accepts_start

    @property
    def batch_coupled(self) -> bool:
        return any(part.batch_coupled for part in self.parts)

    def measure(self, delta: Tensor, ball: Ball) -> Tensor:
        return self.parts[0].measure(delta, ball)

    @property
    def total_steps(self) -> int:
        return sum(part.total_steps for part in self.parts)

    def _place(self, t: int) -> tuple[int, int]:
        """The round of step t, and the number of the step within it."""
        ends = list(accumulate(part.total_steps for part in self.parts))
        number = bisect_right(ends, t)
        return number, t - (ends[number - 1] if number else 0)

    def init(self, oracle: A, batch: Batch) -> Round[S]:
        return Round(self.parts[0].init(oracle, batch), 0)

    def step(self, oracle: A, state: Round[S], t: int) -> Round[S]:
        number, inner_t = self._place(t)
        if number != state.number:
            self.finish(oracle, state)
            seen = _reseeded(oracle, number)
            state = Round(self.parts[number].init(seen, Batch(seen.region.x, seen.key)), number)
        return replace(state, inner=self.parts[number].step(_reseeded(oracle, number), state.inner, inner_t))

    def finish(self, oracle: A, state: Round[S]) -> None:
        self.parts[state.number].finish(_reseeded(oracle, state.number), state.inner)

    def done(self, state: Round[S]) -> Tensor | None:
        """A row that one round has finished with may still fall in the next."""
        return self.parts[-1].done(state.inner) if state.number + 1 == len(self.parts) else None

    def stuck(self, state: Round[S]) -> Tensor | None:
        """A row without a start may find one in the next round."""
        return self.parts[-1].stuck(state.inner) if state.number + 1 == len(self.parts) else None


def _reseeded(oracle: D, number: int) -> D:
    """The oracle with the randomness of this round."""
    return oracle.with_key(oracle.key.reseeded(number)) if number else oracle
