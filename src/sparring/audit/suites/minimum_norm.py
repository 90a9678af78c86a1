"""The suites of minimum-norm attacks: all of them attack each image, and its smallest example counts.

What comes of them is robust accuracy at every eps at once. `quick` has one attack for each norm, `standard` two or
three of different kinds, `thorough` more of them with more steps.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...access import Decisions, Gradients
from ...attacks import (
    ALMA,
    DDN,
    EAD,
    FABT,
    FMN,
    PDPGD,
    CarliniWagner,
    CarliniWagnerLinf,
    HopSkipJump,
    Rivals,
    SigmaZero,
)
from ...geometry import L0, L1, L2, Ball, Linf
from ...goals import RivalMargin
from ..plan import AuditPlan
from .suite_entry import SuiteEntry, make_entry

THOROUGH_STEPS = 500  # steps where the papers have hundreds


def quick_attacks(access: type[Decisions], ball: Ball, plan: AuditPlan) -> Iterator[SuiteEntry]:
    """Yield DDN in L2, SigmaZero in L0 and FMN in other norms, then the attacks on decisions."""
    if isinstance(ball, L2):
        yield make_entry(DDN(ball=ball), plan)
    elif isinstance(ball, L0):
        yield make_entry(SigmaZero(ball=ball), plan)
    else:
        yield make_entry(FMN(ball), plan)
    yield from decision_attacks(access, ball, plan)


def standard_attacks(access: type[Decisions], ball: Ball, plan: AuditPlan) -> Iterator[SuiteEntry]:
    """Yield FMN with DDN and ALMA in L2, SigmaZero in L0, ALMA in L1; FAB and attacks on decisions except in L0."""
    if isinstance(ball, L2):
        yield make_entry(DDN(ball=ball), plan)
    yield make_entry(FMN(ball), plan)
    if isinstance(ball, L0):
        yield make_entry(SigmaZero(ball=ball), plan)
        return
    if isinstance(ball, L2 | L1):
        yield make_entry(ALMA(ball=ball, steps=100), plan)
    yield make_entry(Rivals(FABT(ball, linearize_loss=True), loss=RivalMargin), plan)
    yield from decision_attacks(access, ball, plan)


def thorough_attacks(access: type[Decisions], ball: Ball, plan: AuditPlan) -> Iterator[SuiteEntry]:
    """Yield the standard attacks, DDN, FMN and ALMA with more steps; PDPGD; and C&W's attack, or EAD in L1, not in L0.

    HopSkipJump comes in Linf and L2 whatever the access.
    """
    if isinstance(ball, L2):
        yield make_entry(DDN(ball=ball, steps=THOROUGH_STEPS), plan)
    yield make_entry(FMN(ball, steps=THOROUGH_STEPS), plan)
    yield make_entry(PDPGD(ball), plan)
    if isinstance(ball, L0):
        yield make_entry(SigmaZero(ball=ball), plan)
        return
    if isinstance(ball, L2 | L1):
        yield make_entry(ALMA(ball=ball), plan)
        yield make_entry(EAD(ball=ball) if isinstance(ball, L1) else CarliniWagner(ball=ball), plan)
    else:
        yield make_entry(CarliniWagnerLinf(ball=ball), plan)
    yield make_entry(Rivals(FABT(ball, linearize_loss=True), loss=RivalMargin), plan)
    yield from decision_attacks(access, ball, plan)
    if issubclass(access, Gradients) and isinstance(ball, Linf | L2):
        yield make_entry(HopSkipJump(ball=ball), plan)


def decision_attacks(access: type[Decisions], ball: Ball, plan: AuditPlan) -> Iterator[SuiteEntry]:
    """Yield HopSkipJump where the access gives no gradients: every model answers decisions."""
    if not issubclass(access, Gradients) and isinstance(ball, Linf | L2):
        yield make_entry(HopSkipJump(ball=ball), plan)
