"""Restarts of an attack on the rows that it has not broken."""

from __future__ import annotations

from dataclasses import dataclass

from ...access import Attack, PositiveInt
from ...access.attack import check_attacks
from ...geometry import Ball
from .sequential import A, S, SequentialAttack


@dataclass(frozen=True)
class Restarts(SequentialAttack[A, S]):
    """Run `attack` several times, each time with new random draws.

    Args:
        attack: the attack to repeat.
        n_restarts: the number of runs, the first one included.
    """

    attack: Attack[A, S]
    n_restarts: PositiveInt

    def __post_init__(self) -> None:
        check_attacks(self, self.attack)
        super().__post_init__()

    @property
    def parts(self) -> tuple[Attack[A, S], ...]:
        return (self.attack,) * self.n_restarts

    @property
    def ball(self) -> Ball:
        return self.attack.ball

    @property
    def name(self) -> str:
        return f"{self.attack.name} x {self.n_restarts}"
