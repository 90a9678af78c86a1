"""Query attacks started from a white-box attack on one's own model (Suya et al. 2020, arXiv:1908.07000)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..access import Attack, Budget, Gradients, Keep, Scores
from ..engine import Engine, Outcome, run
from ..goals import Goal
from ..targets import Target


def transfer_then_query(
    first: Attack[Gradients, Any],
    own: Target[Gradients],
    second: Attack[Any, Any],
    victim: Target[Scores],
    goal: Goal,
    x: Tensor,
    *,
    indices: Tensor | None = None,
    budget: Budget | None = None,
    engine: Engine | None = None,
) -> Outcome:
    """Run `first` on the attacker's `own` model, then `second` (Square, HopSkipJump) on the victim from where it ended.

    The outcome and the budget are of the victim; what the attacker does on the own model costs no query.

    Args:
        first: a gradient attack on `own`.
        own: the attacker's own model.
        second: an attack that accepts a start.
        victim: the model that is asked.
        goal: one row per image.
        x: images (N, C, H, W) in [0, 1].
        indices: (N,) the images' positions in their data set; 0 to N - 1 by default.
        budget: queries of each image on the victim.
        engine: how to run.

    Raises: what `run` raises.
    """
    start = run(first, own, goal, x, indices=indices, keep=Keep.HIGHEST_LOSS, engine=engine).examples
    return run(second, victim, goal, x, indices=indices, start=start, budget=budget, engine=engine)
