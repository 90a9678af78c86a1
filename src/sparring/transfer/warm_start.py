"""A query attack that begins where a white-box attack on one's own model ended (Suya et al. 2020, arXiv:1908.07000)."""

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
    """`first` on the attacker's `own` model to its end, then `second` (Square, HopSkipJump) on the victim from there.

    The outcome and the budget speak of the victim: what the attacker does at home costs no query.
    """
    start = run(first, own, goal, x, indices=indices, keep=Keep.HIGHEST_LOSS, engine=engine).examples
    return run(second, victim, goal, x, indices=indices, start=start, budget=budget, engine=engine)
