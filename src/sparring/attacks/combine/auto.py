"""The evaluation to use where nothing else is asked for: no parameter, and no pass where none can help.

In Linf it is `Sweep`. In L2 and L1 searches for the nearest example go first: on nets trained in Linf, climbs inside
the ball end where slopes mislead, and only a walk from beyond the ball comes in elsewhere. In L2 these are ALMA (Rony
et al. 2021, arXiv:2011.11857), DDN (Rony et al. 2019, arXiv:1811.09600) and FAB-T (Croce & Hein 2020, arXiv:1907.02044)
against the three nearest rivals, then one block of `Sweep`. In L1 the climb that begins outside (Croce & Hein 2021,
arXiv:2103.01208) goes before ALMA and FAB-T.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from ...access import Attack, Gradients
from ...geometry import Ball
from ...goals import RivalMargin
from ..gradient import L1APGD
from ..minimal import ALMA, DDN, FABT
from .cascade import Cascade
from .rivals import Rivals
from .sweep import Sweep

OUTSIDE = 100  # steps of ALMA and of DDN
NEAREST = 3  # rivals of FAB-T in L2


def auto(ball: Ball) -> Attack[Gradients, Any]:
    """The strongest answer that we know within `ball` (Linf, L2 or L1, with a finite eps) for few passes."""
    sweep = Sweep(ball)
    if math.isinf(ball.p):
        return sweep
    if ball.p == 1:
        walk = Rivals(FABT(ball, linearize_loss=True), 5, RivalMargin)
        return Cascade(L1APGD(ball), ALMA(ball, steps=OUTSIDE), walk, replace(sweep, blocks=2))
    walk = Rivals(FABT(ball, linearize_loss=True), NEAREST, RivalMargin)
    return Cascade(ALMA(ball, steps=OUTSIDE), DDN(ball=ball, steps=OUTSIDE), walk, replace(sweep, blocks=1))
