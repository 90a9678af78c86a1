"""The suites within a radius, cheapest attack first.

    quick      a first look: FGSM, PGD with restarts, Square
    standard   FGSM, a few steps of PGD, `attacks.auto` (queries among its rounds), Square
    thorough   as standard, with AutoAttack's stages, FMN and HopSkipJump, and more of everything
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..access import Decisions, Scores
from ..attacks import (
    APGD,
    FABT,
    FGSM,
    FMN,
    L1APGD,
    PGD,
    HopSkipJump,
    Restarts,
    Rivals,
    Square,
    SurFree,
    auto,
)
from ..geometry import L1, L2, Ball, Linf
from ..goals import Lead
from .entry import Entry, entered
from .plan import Plan


def climbs(ball: Ball, plan: Plan) -> Iterator[Entry]:
    """A single step, then PGD."""
    yield entered(FGSM(ball), plan)
    climb = PGD(ball, steps=plan.steps)
    yield entered(climb if plan.restarts == 1 else Restarts(climb, plan.restarts), plan)


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
