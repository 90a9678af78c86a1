"""The evaluation to use where nothing else is asked for: no parameter, and no pass where none can help.

In Linf it is `Sweep`. In L2 and L1 FAB-T (Croce & Hein 2020, arXiv:1907.02044) goes first: on nets trained in Linf,
climbs inside the ball end where slopes mislead, and only a walk from beyond the ball comes in elsewhere.
"""

from __future__ import annotations

from typing import Any

from ...access import Attack, Gradients
from ...geometry import Ball, Linf
from ...goals import Lead
from ..minimal import FABT
from .cascade import Cascade
from .rivals import Rivals
from .sweep import RIVALS, Sweep


def auto(ball: Ball) -> Attack[Gradients, Any]:
    """The strongest answer that we know within `ball` (Linf, L2 or L1, with a finite eps) for few passes."""
    sweep = Sweep(ball)
    return sweep if isinstance(ball, Linf) else Cascade(Rivals(FABT(ball, steered=True), RIVALS, Lead), sweep)
