"""Different attacks one after another, each on the rows that the earlier ones have not broken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...access import Attack, Keep
from ...access.attack import check_attacks
from ...errors import ConfigError
from ...geometry import Ball
from .sequential import A, SequentialAttack


@dataclass(frozen=True)
class Cascade(SequentialAttack[A, Any]):
    """Run several attacks within the same ball one after another: `Cascade(first, second, ...)`.

    Attacks of a fixed radius and minimum-norm attacks may be mixed; the first example found is then kept.

    Args:
        attacks: one or more, positional.

    Raises ConfigError for no attack, and for attacks of different balls.
    """

    attacks: tuple[Attack[A, Any], ...]

    def __init__(self, *attacks: Attack[A, Any]) -> None:
        if not attacks:
            raise ConfigError("a cascade of no attacks; pass one or more")
        check_attacks(self, *attacks)
        balls = {attack.ball for attack in attacks}
        if len(balls) > 1:
            raise ConfigError(f"the attacks of a cascade share one ball; got {', '.join(sorted(map(str, balls)))}")
        object.__setattr__(self, "attacks", attacks)

    @property
    def parts(self) -> tuple[Attack[A, Any], ...]:
        return self.attacks

    @property
    def ball(self) -> Ball:
        return self.attacks[0].ball

    @property
    def keep(self) -> Keep:
        kept = {attack.keep for attack in self.attacks}
        return kept.pop() if len(kept) == 1 else Keep.FIRST

    @property
    def name(self) -> str:
        return ", ".join(attack.name for attack in self.attacks)
