"""AutoAttack's standard evaluation (Croce & Hein 2020, arXiv:2003.01690), stage by stage.

    APGD-CE, APGD-T (targeted DLR against 9 rivals), FAB-T (9 rivals), Square (5,000 queries)

each on the rows that the earlier ones have left. In L1 APGD is that of Croce & Hein 2021 (arXiv:2103.01208), which
begins at three times the radius.
Departures: a row leaves at its first example, also within a stage; rivals are as many as there are, so models of
two or three classes work.
"""

from __future__ import annotations

from typing import Any

from ...access import Attack, Jacobians
from ...geometry import Ball
from ...goals import RivalMargin
from ..gradient import APGD, L1APGD
from ..minimal import FABT
from ..score import Square
from .cascade import Cascade
from .rivals import Rivals

RIVALS = 9


def autoattack(ball: Ball, *, steps: int = 100, queries: int = 5000) -> Attack[Jacobians, Any]:
    """The standard version of AutoAttack for Linf, L2 or L1 with a finite eps."""
    ascent: type[APGD] | type[L1APGD] = L1APGD if ball.p == 1 else APGD
    return Cascade(
        ascent(ball, steps=steps),
        Rivals(ascent(ball, steps=steps), RIVALS),
        Rivals(FABT(ball, steps=steps, linearize_loss=True), RIVALS, RivalMargin),
        Square(ball, n_queries=queries, schedule_queries=10_000),
    )
