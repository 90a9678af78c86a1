"""The suites of attacks at a fixed radius, cheapest attack first.

    quick      a first impression: FGSM, PGD with restarts, Square
    standard   FGSM, a few steps of PGD, `attacks.Auto` (gradients and queries in turn), Square
    thorough   as standard, with AutoAttack's stages, FMN and HopSkipJump, and more of everything

Suites `standard` and `thorough` also attack the detector, when there is one: with several weights of the joint loss,
which are other views of the target, and with steps that need no weight (`past_detector`).
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
    Auto,
    HopSkipJump,
    OrthogonalPGD,
    Restarts,
    Rivals,
    Square,
    SurFree,
)
from ...geometry import L1, L2, Ball, Linf
from ...goals import RivalMargin
from ..plan import AuditPlan
from .suite_entry import SuiteEntry, make_entry

DETECTOR_SUITES = ("standard", "thorough")  # the suites that end with `past_detector`
ALARM_WEIGHTS = (0.3, 1.0, 3.0)  # of the alarm in the joint loss
DETECTOR_STEPS = 100  # steps past a detector


def gradient_attacks(ball: Ball, plan: AuditPlan) -> Iterator[SuiteEntry]:
    """Yield a single step (FGSM), then PGD."""
    yield make_entry(FGSM(ball), plan)
    yield make_entry(add_restarts(PGD(ball, steps=plan.steps), plan), plan)


def add_restarts(climb: PGD | OrthogonalPGD, plan: AuditPlan) -> Attack[Any, Any]:
    """Return the attack from as many starts as the plan wants; the attack itself where that is one."""
    return climb if plan.restarts == 1 else Restarts(climb, plan.restarts)


def quick_attacks(access: type[Decisions], ball: Ball, plan: AuditPlan) -> Iterator[SuiteEntry]:
    """Yield FGSM and PGD in Linf, L2 and L1, then Square in Linf and L2, and HopSkipJump there without scores."""
    if isinstance(ball, Linf | L2 | L1):
        yield from gradient_attacks(ball, plan)
    if isinstance(ball, Linf | L2):
        yield make_entry(Square(ball, n_queries=plan.queries), plan)
        if not issubclass(access, Scores):
            yield make_entry(HopSkipJump(ball=ball), plan)


def standard_attacks(access: type[Decisions], ball: Ball, plan: AuditPlan) -> Iterator[SuiteEntry]:
    """Yield FGSM, PGD, Auto and Square in Linf, L2 and L1; HopSkipJump in Linf and L2 without scores."""
    if isinstance(ball, Linf | L2 | L1):
        yield from gradient_attacks(ball, plan)
        yield make_entry(Auto(ball), plan)
        yield make_entry(Square(ball, n_queries=plan.queries), plan)
    if isinstance(ball, Linf | L2) and not issubclass(access, Scores):
        yield make_entry(HopSkipJump(ball=ball), plan)


def thorough_attacks(access: type[Decisions], ball: Ball, plan: AuditPlan) -> Iterator[SuiteEntry]:
    """Yield FGSM, PGD, Auto, APGD, APGD and FAB on rivals, FMN and Square in Linf, L2 and L1.

    HopSkipJump comes in Linf and L2, whatever the access; SurFree in L2 without scores.
    """
    if not isinstance(ball, Linf | L2 | L1):
        return
    ascent: Any = L1APGD if isinstance(ball, L1) else APGD
    yield from gradient_attacks(ball, plan)
    yield make_entry(Auto(ball), plan)
    yield make_entry(ascent(ball, steps=plan.steps), plan)
    yield make_entry(Rivals(ascent(ball, steps=plan.steps, loss=None)), plan)
    yield make_entry(Rivals(FABT(ball, steps=plan.steps, linearize_loss=True), loss=RivalMargin), plan)
    yield make_entry(FMN(ball), plan)
    yield make_entry(Square(ball, n_queries=plan.queries), plan)
    if isinstance(ball, Linf | L2):
        yield make_entry(HopSkipJump(ball=ball), plan)
    if isinstance(ball, L2) and not issubclass(access, Scores):
        yield make_entry(SurFree(ball=ball), plan)


def past_detector(ball: Ball, plan: AuditPlan) -> Iterator[SuiteEntry]:
    """Attack classifier and detector together, where a joint loss of weight 1 finds nothing."""
    if not isinstance(ball, Linf | L2 | L1):
        return
    steps = max(DETECTOR_STEPS, plan.steps)
    for weight in ALARM_WEIGHTS:
        entry = make_entry(add_restarts(PGD(ball, steps=steps), plan), plan, f"joint PGD, weight {weight:g}")
        yield replace(entry, weight=weight)
        if weight > 1 or (plan.suite == "thorough" and weight != 1):
            yield replace(make_entry(Auto(ball), plan, f"Auto, weight {weight:g}"), weight=weight)
    for orthogonal, name in ((True, "OrthogonalPGD"), (False, "SelectivePGD")):
        yield make_entry(add_restarts(OrthogonalPGD(ball, steps=steps, orthogonal=orthogonal), plan), plan, name)
