"""An attack repeated on the rows that still stand."""

from __future__ import annotations

from dataclasses import dataclass

from ...access import Attack
from ...errors import ConfigError
from .rounds import A, Rounds, S


@dataclass(frozen=True)
class Restarts(Rounds[A, S]):
    """`attack` from its beginning, `times` times, each with randomness of its own."""

    attack: Attack[A, S]
    times: int

    def __post_init__(self) -> None:
        if self.times < 1:
            raise ConfigError(f"restarts {self.times!r}; pass a number of rounds >= 1")

    @property
    def parts(self) -> tuple[Attack[A, S], ...]:
        return (self.attack,) * self.times

    @property
    def name(self) -> str:
        return f"{self.attack.name} x {self.times}"
