"""`Auto`, our default attack at a fixed radius: no parameters, and few passes on images that cannot be broken.

In Linf it is `Sweep`. In L2 and L1 minimum-norm attacks run first: on nets trained in Linf, gradient ascent inside the
ball ends in local maxima, and only a search from outside the ball finds other examples. In L2 these are ALMA (Rony et
al. 2021, arXiv:2011.11857), DDN (Rony et al. 2019, arXiv:1811.09600) and FAB-T (Croce & Hein 2020, arXiv:1907.02044)
against the three nearest rivals, then one block of `Sweep`. In L1 Auto-PGD that starts outside (Croce & Hein 2021,
arXiv:2103.01208) runs before ALMA and FAB-T.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from ...access import Attack, Gradients, Keep
from ...geometry import L1, L2, Ball, Linf
from ...goals import RivalMargin
from ..gradient import L1APGD
from ..minimal import ALMA, DDN, FABT
from .rivals import Rivals
from .sequential import SequentialAttack
from .sweep import Sweep

MINIMUM_NORM_STEPS = 100  # of ALMA and of DDN
L2_TARGET_CLASSES, L1_TARGET_CLASSES = 3, 5  # of FAB-T


@dataclass(frozen=True)
class Auto(SequentialAttack[Gradients, Any]):
    """Run the sequence of attacks that breaks most for few passes, within a ball.

    Args:
        ball: Linf, L2 or L1 with a finite eps.
    """

    ball: Ball

    norms: ClassVar[tuple[type[Ball], ...]] = (Linf, L2, L1)
    alternative: ClassVar[str] = "PGD"
    spends_radius: ClassVar[bool] = True

    @cached_property
    def parts(self) -> tuple[Attack[Gradients, Any], ...]:
        """The attacks, in the order in which they run."""
        ball = self.ball
        if math.isinf(ball.p):
            return (Sweep(ball),)
        classes = L1_TARGET_CLASSES if ball.p == 1 else L2_TARGET_CLASSES
        fab = Rivals(FABT(ball, linearize_loss=True), classes, RivalMargin)
        alma = ALMA(ball, steps=MINIMUM_NORM_STEPS)
        if ball.p == 1:
            return (L1APGD(ball), alma, fab, Sweep(ball, blocks=2))
        return (alma, DDN(ball=ball, steps=MINIMUM_NORM_STEPS), fab, Sweep(ball, blocks=1))

    @property
    def keep(self) -> Keep:
        return Keep.FIRST
