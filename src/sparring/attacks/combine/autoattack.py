"""AutoAttack's standard evaluation (Croce & Hein 2020, arXiv:2003.01690), stage by stage.

    APGD-CE, APGD-T (targeted DLR against 9 rivals), FAB-T (9 rivals), Square (5,000 queries)

each on the rows that the earlier ones have not broken. In L1 APGD is that of Croce & Hein 2021 (arXiv:2103.01208),
which begins at three times the radius.
Departures: a row leaves at its first example, also within a stage; there are as many rivals as the task has, so models
of two or three classes work.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from ...access import Attack, Jacobians, Keep, PositiveInt
from ...geometry import L1, L2, Ball, Linf
from ...goals import LogOdds, RivalMargin
from ..gradient import APGD, L1APGD
from ..minimal import FABT
from ..score import Square
from .rivals import Rivals
from .sequential import SequentialAttack

TARGET_CLASSES = 9


@dataclass(frozen=True)
class AutoAttack(SequentialAttack[Jacobians, Any]):
    """Run the standard version of AutoAttack.

    Args:
        ball: Linf, L2 or L1 with a finite eps.
        steps: gradient steps of each APGD and FAB-T run (100 in the authors' code).
        n_queries: queries of Square (5,000 in the authors' code).
    """

    ball: Ball
    steps: PositiveInt = 100
    n_queries: PositiveInt = 5000

    norms: ClassVar[tuple[type[Ball], ...]] = (Linf, L2, L1)
    alternative: ClassVar[str] = "PGD"
    spends_radius: ClassVar[bool] = True

    @cached_property
    def parts(self) -> tuple[Attack[Jacobians, Any], ...]:
        """The stages, in the order in which they run."""
        apgd: type[APGD] | type[L1APGD] = L1APGD if self.ball.p == 1 else APGD
        return (
            apgd(self.ball, steps=self.steps, loss=LogOdds()),
            Rivals(apgd(self.ball, steps=self.steps), TARGET_CLASSES),
            Rivals(FABT(self.ball, steps=self.steps, linearize_loss=True), TARGET_CLASSES, RivalMargin),
            Square(self.ball, n_queries=self.n_queries, schedule_queries=10_000),
        )

    @property
    def keep(self) -> Keep:
        return Keep.FIRST
