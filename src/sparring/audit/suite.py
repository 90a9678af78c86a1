"""Which attacks answer a threat, given what the target grants."""

from __future__ import annotations

from typing import Any

from ..access import Attack, Decisions, Gradients, Scores
from ..attacks import FGSM, PGD, HopSkipJump, Restarts, Square
from ..errors import ThreatError
from ..geometry import L1, L2, Ball, Linf
from .plan import Plan

GRADIENT_NORMS, QUERY_NORMS = (Linf, L2, L1), (Linf, L2)


def suite(access: type[Decisions], ball: Ball, plan: Plan) -> list[Attack[Any, Any]]:
    """The cascade's attacks in their order, cheapest first; ThreatError where there is none for the norm."""
    attacks: list[Attack[Any, Any]] = []
    if issubclass(access, Gradients) and isinstance(ball, GRADIENT_NORMS):
        attacks += [FGSM(ball), Restarts(PGD(ball, steps=plan.steps), plan.restarts)]
    if issubclass(access, Scores) and isinstance(ball, QUERY_NORMS):
        attacks.append(Square(ball, steps=plan.queries))
    if not issubclass(access, Scores) and isinstance(ball, QUERY_NORMS):
        attacks.append(HopSkipJump(ball))
    if not attacks:
        raise ThreatError(
            f"no attack of the audit works on {ball} with {access.__name__}; audit Linf or L2, "
            "or run a single attack: sparring attack"
        )
    return attacks
