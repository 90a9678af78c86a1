"""Attacks one after another on the rows that are not broken yet, each from its own start."""

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
from ...geometry.region import Region
from ...goals import Goal

A = TypeVar("A", bound=Decisions, contravariant=True)
S = TypeVar("S")
D = TypeVar("D", bound=Decisions)


@dataclass(frozen=True)
class SequentialState(Generic[S]):
    """The state of the attack that is running, and its index among the `parts`."""

    inner: S
    index: int


class SequentialAttack(Attack[A, SequentialState[S]]):
    """Base class: run the attacks `parts` one after another, each with its own random draws.

    `keep`, `confidence`, `accepts_start` and `measure` are those of the first part.
    """

    @property
    @abstractmethod
    def parts(self) -> tuple[Attack[A, S], ...]:
        """The attacks, in the order in which they run."""

    def check(self, region: Region) -> None:
        for part in self.parts:
            part.check(region)

    def check_goal(self, goal: Goal) -> None:
        for part in self.parts:
            part.check_goal(goal)

    @property
    def access(self) -> type[Decisions]:
        return max((part.access for part in self.parts), key=lambda access: len(access.__mro__))

    @property
    def state(self) -> Any:
        states: Any = reduce(or_, dict.fromkeys(part.state for part in self.parts))
        return SequentialState[states]

    @property
    def keep(self) -> Keep:
        return self.parts[0].keep

    @property
    def confidence(self) -> float:
        return self.parts[0].confidence

    @property
    def queries_outside_ball(self) -> bool:
        return any(part.queries_outside_ball for part in self.parts)

    @property
    def accepts_start(self) -> bool:
        return self.parts[0].accepts_start

    @property
    def begins_again(self) -> bool:
        return True

    @property
    def batch_coupled(self) -> bool:
        return any(part.batch_coupled for part in self.parts)

    def measure(self, delta: Tensor, region: Region) -> Tensor:
        return self.parts[0].measure(delta, region)

    @property
    def total_steps(self) -> int:
        return sum(part.total_steps for part in self.parts)

    def _part_at(self, t: int) -> tuple[int, int]:
        """The index of the part that step t belongs to, and the number of the step within it."""
        ends = list(accumulate(part.total_steps for part in self.parts))
        index = bisect_right(ends, t)
        return index, t - (ends[index - 1] if index else 0)

    def init(self, oracle: A, batch: Batch) -> SequentialState[S]:
        return SequentialState(self.parts[0].init(oracle, batch), 0)

    def step(self, oracle: A, state: SequentialState[S], t: int) -> SequentialState[S]:
        index, inner_t = self._part_at(t)
        reseeded = _reseeded(oracle, index)
        if index != state.index:
            self.finish(oracle, state)
            state = SequentialState(self.parts[index].init(reseeded, Batch(reseeded.region.x, reseeded.key)), index)
        return replace(state, inner=self.parts[index].step(reseeded, state.inner, inner_t))

    def finish(self, oracle: A, state: SequentialState[S]) -> None:
        self.parts[state.index].finish(_reseeded(oracle, state.index), state.inner)

    def done(self, state: SequentialState[S]) -> Tensor | None:
        """(B,) bool: only the last part ends a row, since a later one may still break it. None: no row has ended."""
        return self.parts[-1].done(state.inner) if state.index + 1 == len(self.parts) else None

    def stuck(self, state: SequentialState[S]) -> Tensor | None:
        """(B,) bool: rows without a starting point in the last part, since a later one may find one. None: no row."""
        return self.parts[-1].stuck(state.inner) if state.index + 1 == len(self.parts) else None


def _reseeded(oracle: D, index: int) -> D:
    """Return the oracle with the key of this part; the first part has the oracle's own."""
    return oracle.with_key(oracle.key.reseeded(index)) if index else oracle
