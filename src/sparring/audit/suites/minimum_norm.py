"""The suites without a radius: each image is attacked by all of them, and its smallest example counts.

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
from ...goals import Lead
from ..plan import Plan
from .suite_entry import Entry, entered

MORE = 500  # steps where the papers have hundreds


def quick(access: type[Decisions], ball: Ball, plan: Plan) -> Iterator[Entry]:
    if isinstance(ball, L2):
        yield entered(DDN(ball=ball), plan)
    elif isinstance(ball, L0):
        yield entered(SigmaZero(ball=ball), plan)
    else:
        yield entered(FMN(ball), plan)
    yield from blind(access, ball, plan)


def standard(access: type[Decisions], ball: Ball, plan: Plan) -> Iterator[Entry]:
    if isinstance(ball, L2):
        yield entered(DDN(ball=ball), plan)
    yield entered(FMN(ball), plan)
    if isinstance(ball, L0):
        yield entered(SigmaZero(ball=ball), plan)
        return
    if isinstance(ball, L2 | L1):
        yield entered(ALMA(ball=ball, steps=100), plan)
    yield entered(Rivals(FABT(ball, steered=True), loss=Lead), plan)
    yield from blind(access, ball, plan)


def thorough(access: type[Decisions], ball: Ball, plan: Plan) -> Iterator[Entry]:
    if isinstance(ball, L2):
        yield entered(DDN(ball=ball, steps=MORE), plan)
    yield entered(FMN(ball, steps=MORE), plan)
    yield entered(PDPGD(ball), plan)
    if isinstance(ball, L0):
        yield entered(SigmaZero(ball=ball), plan)
        return
    if isinstance(ball, L2 | L1):
        yield entered(ALMA(ball=ball), plan)
        yield entered(EAD(ball=ball) if isinstance(ball, L1) else CarliniWagner(ball=ball), plan)
    else:
        yield entered(CarliniWagnerLinf(ball=ball), plan)
    yield entered(Rivals(FABT(ball, steered=True), loss=Lead), plan)
    yield from blind(access, ball, plan)
    if issubclass(access, Gradients) and isinstance(ball, Linf | L2):
        yield entered(HopSkipJump(ball=ball), plan)


def blind(access: type[Decisions], ball: Ball, plan: Plan) -> Iterator[Entry]:
    """Where there are no gradients: decisions, which every model gives."""
    if not issubclass(access, Gradients) and isinstance(ball, Linf | L2):
        yield entered(HopSkipJump(ball=ball), plan)
