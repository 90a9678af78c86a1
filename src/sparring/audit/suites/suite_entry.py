"""One attack of a suite."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...access import Attack, Budget, Decisions
from ..plan import Plan


@dataclass(frozen=True)
class Entry:
    """An attack under the name that the records have it by.

    `carried`: it is made on the surrogate. `weight`: of the alarm in the joint loss, where a detector may reject.
    """

    name: str
    attack: Attack[Any, Any]
    carried: bool = False
    budget: Budget | None = None
    weight: float = 1.0

    @property
    def access(self) -> type[Decisions]:
        """What it asks of the target."""
        return Decisions if self.carried else self.attack.access


def entered(attack: Attack[Any, Any], plan: Plan, name: str | None = None) -> Entry:
    """The entry; decisions are bought by the query."""
    budget = Budget(forwards=plan.queries) if attack.access is Decisions else None
    return Entry(name or attack.name, attack, budget=budget)
