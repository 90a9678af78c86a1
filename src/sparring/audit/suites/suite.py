"""Choice of a suite's attacks for a threat, given the access that the target grants."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from ...access import Attack, Decisions, Gradients, Keep
from ...attacks import MIFGSM, PGD, OrthogonalPGD, Square
from ...attacks.spec import AttackSpec
from ...errors import ConfigError, ThreatError
from ...geometry import L0, Ball
from ..plan import AuditPlan
from . import fixed_radius, minimum_norm
from .suite_entry import SuiteEntry, make_entry

MAX_ATTACKS = 1000  # of a view at one radius, at most
SEARCH, SEARCH_TURN = "branch-and-bound", MAX_ATTACKS - 1  # of certificates, which come after all attacks
TRANSFER_STEPS = 20  # steps of the attack on the surrogate
Maker = Callable[[type[Decisions], Ball, AuditPlan], Iterator[SuiteEntry]]
FIXED_RADIUS: dict[str, Maker] = {
    "quick": fixed_radius.quick_attacks,
    "standard": fixed_radius.standard_attacks,
    "thorough": fixed_radius.thorough_attacks,
}
MINIMUM_NORM: dict[str, Maker] = {
    "quick": minimum_norm.quick_attacks,
    "standard": minimum_norm.standard_attacks,
    "thorough": minimum_norm.thorough_attacks,
}


def suite(access: type[Decisions], ball: Ball, plan: AuditPlan, rejects: bool = False) -> list[SuiteEntry]:
    """List the plan's attacks on `ball`; for an infinite eps those that search the smallest example.

    `rejects`: the attacker knows of a detector.

    Raises: ThreatError where no attack serves its norm with that access, ConfigError for repeats without end.
    """
    known = MINIMUM_NORM if math.isinf(ball.eps) else FIXED_RADIUS
    make = known[plan.suite] if isinstance(plan.suite, str) else named_attacks
    entries = [entry for entry in make(access, ball, plan) if issubclass(access, entry.access)]
    if plan.surrogate is not None and math.isfinite(ball.eps) and not isinstance(ball, L0):
        seeing = sum(issubclass(entry.access, Gradients) for entry in entries)
        entries.insert(seeing, transfer_entry(ball, plan.surrogate))
    if not rejects:
        entries = [entry for entry in entries if not isinstance(entry.attack, OrthogonalPGD)]
    elif plan.suite in fixed_radius.DETECTOR_SUITES and math.isfinite(ball.eps):
        entries += [entry for entry in fixed_radius.past_detector(ball, plan) if issubclass(access, entry.access)]
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
    if len(entries) * plan.repeats > MAX_ATTACKS:
        raise ConfigError(
            f"repeats={plan.repeats} of {len(entries)} attacks are more than {MAX_ATTACKS} turns at each radius; pass "
            f"at most {MAX_ATTACKS // len(entries)}"
        )
    return entries


def transfer_entry(ball: Ball, surrogate: str) -> SuiteEntry:
    """Make the transfer's entry: MI-FGSM (Dong et al. 2018, arXiv:1710.06081) on the surrogate, tried on the target."""
    return SuiteEntry(f"transfer from {surrogate}", MIFGSM(ball, steps=TRANSFER_STEPS), transferred=True)


def named_attacks(access: type[Decisions], ball: Ball, plan: AuditPlan) -> Iterator[SuiteEntry]:
    """Yield the attacks that the plan names, without those that do not support the norm."""
    seen: set[str] = set()
    for word in plan.suite:
        spec = plan.attack(word)
        attack = build_attack(spec, ball, plan)
        if attack is not None and (math.isfinite(ball.eps) or attack.keep is Keep.SMALLEST):
            name = spec.title if spec.written or spec.given is not None else attack.name
            name = f"{name} of {word}" if name in seen else name
            seen.add(name)
            yield make_entry(attack, plan, name)


def refuse_idle_attacks(plan: AuditPlan) -> None:
    """Raise ThreatError for an attack that the plan names and that none of its threats has a place for."""
    for word in plan.suite if isinstance(plan.suite, tuple) else ():
        spec = plan.attack(word)
        own = None if spec.given is None else spec.given.ball
        if own is not None and math.isfinite(own.eps) and own not in plan.balls():
            asked = ", ".join(map(str, plan.balls()))
            raise ThreatError(
                f"suite: {word} was made within {own}, which is no threat of this audit ({asked}); add it to the "
                f"threats, or pass the class alone ({type(spec.given).__name__}), or words as 'pgd:steps=10'"
            )
        made = [build_attack(spec, ball, plan) for ball in plan.balls()]
        if spec.given is None and not spec.has_parameter("ball"):
            raise ThreatError(f"suite: {word} has no field `ball`, and an audit gives its attacks one; leave it out")
        if not any(made):
            spec.make(plan.balls()[0])  # which says why
        if all(attack is None or attack.keep is not Keep.SMALLEST for attack in made) and not plan.threats:
            raise ThreatError(
                f"suite: {word} needs a radius, as --threat linf:4/255; fmn searches the smallest example"
            )


def build_attack(spec: AttackSpec, ball: Ball, plan: AuditPlan) -> Attack[Any, Any] | None:
    """Build the attack on that ball with its defaults, but the plan's steps in PGD and its queries in Square.

    None where the attack does not work in that ball.
    """
    if spec.given is None and not spec.has_parameter("ball"):
        return None
    numbers = {PGD: {"steps": plan.steps}, Square: {"n_queries": plan.queries}}.get(spec.kind, {})
    try:
        return spec.make(ball, **numbers)
    except ThreatError:
        return None
