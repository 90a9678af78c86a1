"""`SuiteEntry`: one attack of a suite with its settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...access import Attack, Budget, Decisions, Gradients
from ...attacks.combine.attack_wrapper import AttackWrapper
from ...attacks.combine.sequential import SequentialAttack
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

    @property
    def climb_steps(self) -> int:
        """The steps along gradients of the target itself, of several attacks in turn those of the longest."""
        return 0 if self.transferred else gradient_steps(self.attack)


def gradient_steps(attack: Attack[Any, Any]) -> int:
    """Return the gradient steps of an attack, of several in turn those of the longest; 0 without gradients."""
    if isinstance(attack, SequentialAttack):
        return max(map(gradient_steps, attack.parts))
    if isinstance(attack, AttackWrapper):
        return gradient_steps(attack.attack)
    return attack.total_steps if issubclass(attack.access, Gradients) else 0


def make_entry(attack: Attack[Any, Any], plan: AuditPlan, name: str | None = None) -> SuiteEntry:
    """Make the entry; decision attacks get the plan's number of queries as their budget."""
    budget = Budget(forwards=plan.queries) if attack.access is Decisions else None
    return SuiteEntry(name or attack.name, attack, budget=budget)
