"""The suites within a radius, cheapest attack first.

    quick      a first look: FGSM, PGD with restarts, Square
    standard   FGSM, a few steps of PGD, `attacks.auto` (queries among its rounds), Square
    thorough   as standard, with AutoAttack's stages, FMN and HopSkipJump, and more of everything

Who knows of a detector goes on after standard and thorough, with several weights of the joint loss, which are other
views of the target, and with steps that need none (`past`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ...access import Attack, Decisions, Scores
from ...attacks import (
    APGD,
    FABT,
    FGSM,
    FMN,
    L1APGD,
    PGD,
    HopSkipJump,
    OrthogonalPGD,
    Restarts,
    Rivals,
    Square,
    SurFree,
    auto,
)
from ...geometry import L1, L2, Ball, Linf
from ...goals import Lead
from ..plan import Plan
from .suite_entry import Entry, entered

PAST = ("standard", "thorough")  # the suites that `past` belongs to
WEIGHTS = (0.3, 1.0, 3.0)  # of the alarm in the joint loss
LONG = 100  # steps past a detector


def climbs(ball: Ball, plan: Plan) -> Iterator[Entry]:
    """A single step, then PGD."""
    yield entered(FGSM(ball), plan)
    yield entered(restarted(PGD(ball, steps=plan.steps), plan), plan)


def restarted(climb: PGD | OrthogonalPGD, plan: Plan) -> Attack[Any, Any]:
    return climb if plan.restarts == 1 else Restarts(climb, plan.restarts)


def quick(access: type[Decisions], ball: Ball, plan: Plan) -> Iterator[Entry]:
    if isinstance(ball, Linf | L2 | L1):
        yield from climbs(ball, plan)
    if isinstance(ball, Linf | L2):
        yield entered(Square(ball, steps=plan.queries), plan)
        if not issubclass(access, Scores):
            yield entered(HopSkipJump(ball=ball), plan)


def standard(access: type[Decisions], ball: Ball, plan: Plan) -> Iterator[Entry]:
    if isinstance(ball, Linf | L2 | L1):
        yield from climbs(ball, plan)
        yield entered(auto(ball), plan, "auto")
        yield entered(Square(ball, steps=plan.queries), plan)
    if isinstance(ball, Linf | L2) and not issubclass(access, Scores):
        yield entered(HopSkipJump(ball=ball), plan)


def thorough(access: type[Decisions], ball: Ball, plan: Plan) -> Iterator[Entry]:
    if not isinstance(ball, Linf | L2 | L1):
        return
    ascent: Any = L1APGD if isinstance(ball, L1) else APGD
    yield from climbs(ball, plan)
    yield entered(auto(ball), plan, "auto")
    yield entered(ascent(ball, steps=plan.steps), plan)
    yield entered(Rivals(ascent(ball, steps=plan.steps, loss=None)), plan)
    yield entered(Rivals(FABT(ball, steps=plan.steps, steered=True), loss=Lead), plan)
    yield entered(FMN(ball), plan)
    yield entered(Square(ball, steps=plan.queries), plan)
    if isinstance(ball, Linf | L2):
        yield entered(HopSkipJump(ball=ball), plan)
    if isinstance(ball, L2) and not issubclass(access, Scores):
        yield entered(SurFree(ball=ball), plan)


def past(ball: Ball, plan: Plan) -> Iterator[Entry]:
    """Past a classifier and a detector, what a joint loss of weight 1 does not find."""
    if not isinstance(ball, Linf | L2 | L1):
        return
    steps = max(LONG, plan.steps)
    for weight in WEIGHTS:
        entry = entered(restarted(PGD(ball, steps=steps), plan), plan, f"joint PGD, weight {weight:g}")
        yield replace(entry, weight=weight)
        if weight > 1 or (plan.suite == "thorough" and weight != 1):
            yield replace(entered(auto(ball), plan, f"auto, weight {weight:g}"), weight=weight)
    for orthogonal, name in ((True, "OrthogonalPGD"), (False, "SelectivePGD")):
        yield entered(restarted(OrthogonalPGD(ball, steps=steps, orthogonal=orthogonal), plan), plan, name)
