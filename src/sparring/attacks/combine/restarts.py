"""An attack repeated on the rows that still stand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from torch import Tensor

from ...access import Attack, Batch, Decisions, Keep
from ...errors import ConfigError
from ...geometry import Ball

A = TypeVar("A", bound=Decisions, contravariant=True)
S = TypeVar("S")


@dataclass(frozen=True)
class Round(Generic[S]):
    """The batch, and the inner attack's state in the present round."""

    batch: Batch
    inner: S
    last: bool  # is this the last round?


@dataclass(frozen=True)
class Restarts(Attack[A, Round[S]]):
    """`attack` from its beginning, `times` times, each with randomness of its own."""

    attack: Attack[A, S]
    times: int

    def __post_init__(self) -> None:
        if self.times < 1:
            raise ConfigError(f"restarts {self.times!r}; pass a number of rounds >= 1")

    @property
    def access(self) -> type[Decisions]:
        return self.attack.access

    @property
    def state(self) -> Any:
        return Round[self.attack.state]  # type: ignore[name-defined]

    @property
    def keep(self) -> Keep:
        return self.attack.keep

    @property
    def confidence(self) -> float:
        return self.attack.confidence

    @property
    def ball(self) -> Ball:
        return self.attack.ball

    @property
    def steps(self) -> int:
        return self.times * self.attack.steps

    @property
    def name(self) -> str:
        return f"{self.attack.name} x {self.times}"

    def init(self, oracle: A, batch: Batch) -> Round[S]:
        return Round(batch, self.attack.init(oracle, batch), self.times == 1)

    def step(self, oracle: A, state: Round[S], t: int) -> Round[S]:
        round, inner_t = divmod(t, self.attack.steps)
        if round and inner_t == 0:
            self.attack.finish(oracle, state.inner)
            fresh = Batch(state.batch.x, state.batch.key.reseeded(round))
            state = Round(state.batch, self.attack.init(oracle, fresh), round + 1 == self.times)
        return replace(state, inner=self.attack.step(oracle, state.inner, inner_t))

    def finish(self, oracle: A, state: Round[S]) -> None:
        self.attack.finish(oracle, state.inner)

    def done(self, state: Round[S]) -> Tensor | None:
        """A row that one round has finished with may still fall in the next."""
        return None

    def stuck(self, state: Round[S]) -> Tensor | None:
        """A row without a start may find one in the next round."""
        return self.attack.stuck(state.inner) if state.last else None
