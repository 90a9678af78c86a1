"""Which attacks answer a threat, given what the target grants, in the order in which they run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

from ...access import Attack, Decisions, Gradients, Keep
from ...attacks import MIFGSM, OrthogonalPGD, table
from ...errors import ConfigError, SparringError, ThreatError
from ...geometry import L0, Ball
from ..plan import Plan
from . import fixed_radius, minimum_norm
from .suite_entry import Entry, entered

TURNS = 1000  # of a view at one radius, at most
CARRIED = 20  # steps of the attack on the surrogate
Maker = Callable[[type[Decisions], Ball, Plan], Iterator[Entry]]
WITHIN: dict[str, Maker] = {
    "quick": fixed_radius.quick,
    "standard": fixed_radius.standard,
    "thorough": fixed_radius.thorough,
}
NEAREST: dict[str, Maker] = {
    "quick": minimum_norm.quick,
    "standard": minimum_norm.standard,
    "thorough": minimum_norm.thorough,
}


def suite(access: type[Decisions], ball: Ball, plan: Plan, rejects: bool = False) -> list[Entry]:
    """The plan's attacks on `ball`, of infinite eps those for the smallest example.

    `rejects`: the attacker knows of a detector.

    Raises: ThreatError where no attack serves its norm with that access, ConfigError for repeats without end.
    """
    known = NEAREST if math.isinf(ball.eps) else WITHIN
    make = known[plan.suite] if isinstance(plan.suite, str) else own
    entries = [entry for entry in make(access, ball, plan) if issubclass(access, entry.access)]
    if plan.surrogate is not None and math.isfinite(ball.eps) and not isinstance(ball, L0):
        seeing = sum(issubclass(entry.access, Gradients) for entry in entries)
        entries.insert(seeing, carried(ball, plan.surrogate))
    if not rejects:
        entries = [entry for entry in entries if not isinstance(entry.attack, OrthogonalPGD)]
    elif plan.suite in fixed_radius.PAST and math.isfinite(ball.eps):
        entries += [entry for entry in fixed_radius.past(ball, plan) if issubclass(access, entry.access)]
    if not entries and plan.suite == ("orthogonal-pgd",):
        raise ThreatError(
            "orthogonal-pgd is for an attacker who knows of a detector, and all that --suite names; add another "
            "attack, as --suite pgd,orthogonal-pgd"
        )
    if not entries:
        raise ThreatError(
            f"no attack of the audit works on {ball} with {access.__name__}; audit Linf or L2, "
            "or run a single attack: sparring attack"
        )
    if len(entries) * plan.repeats > TURNS:
        raise ConfigError(
            f"repeats={plan.repeats} of {len(entries)} attacks are more than {TURNS} turns at each radius; pass at "
            f"most {TURNS // len(entries)}"
        )
    return entries


def carried(ball: Ball, surrogate: str) -> Entry:
    """Examples made on the surrogate with momentum (Dong et al. 2018, arXiv:1710.06081), tried on the target."""
    return Entry(f"transfer from {surrogate}", MIFGSM(ball, steps=CARRIED), carried=True)


def own(access: type[Decisions], ball: Ball, plan: Plan) -> Iterator[Entry]:
    """The attacks that the plan names; those that do not serve the norm are left out."""
    for name in plan.suite:
        attack = built(table[name], ball, plan)
        if attack is not None and (math.isfinite(ball.eps) or attack.keep is Keep.SMALLEST):
            yield entered(attack, plan)


def built(kind: type[Attack[Any, Any]], ball: Ball, plan: Plan) -> Attack[Any, Any] | None:
    """The attack on that ball with its own defaults; the plan's steps in PGD, its queries in Square."""
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    if "ball" not in known:
        return None
    steps = {"PGD": plan.steps, "Square": plan.queries}.get(kind.__name__)
    try:
        return kind(**({"ball": ball} | ({"steps": steps} if steps else {})))
    except SparringError:
        return None
