"""`SuiteEntry`: one attack of a suite with its settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...access import Attack, Budget, Decisions
from ..plan import AuditPlan


@dataclass(frozen=True)
class SuiteEntry:
    """An attack of a suite, under the name that the records use.

    `transferred`: its examples are made on the surrogate. `weight`: of the detector's alarm in the joint loss.
    """

    name: str
    attack: Attack[Any, Any]
    transferred: bool = False
    budget: Budget | None = None
    weight: float = 1.0

    @property
    def access(self) -> type[Decisions]:
        """The access to the target that it needs."""
        return Decisions if self.transferred else self.attack.access


def make_entry(attack: Attack[Any, Any], plan: AuditPlan, name: str | None = None) -> SuiteEntry:
    """Make the entry; decision attacks get the plan's number of queries as their budget."""
    budget = Budget(forwards=plan.queries) if attack.access is Decisions else None
    return SuiteEntry(name or attack.name, attack, budget=budget)
