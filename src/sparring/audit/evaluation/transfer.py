"""Examples made on a model of the attacker's own, tried once on the target (Papernot et al. 2016, arXiv:1605.07277).

The target is asked about the end of it only; what the attacker does at home costs it nothing, and is not counted.
"""

from __future__ import annotations

import time

import torch
from torch import Tensor

from ...access import Keep, Reason
from ...engine import Engine, Outcome, Passes, run
from ...errors import ConfigError
from ..suites.suite_entry import SuiteEntry
from .attacker_views import EvaluatedTarget
from .clean_chunk import CleanChunk
from .confirmation import AttackSlot
from .predictions import aggregate, predict_repeatedly


def run_transfer(
    entry: SuiteEntry, evaluated: EvaluatedTarget, clean: CleanChunk, rows: Tensor, slot: AttackSlot, engine: Engine
) -> Outcome:
    """Run the attack on the surrogate to its end, and try its examples of the highest loss on the target."""
    if evaluated.surrogate is None:
        raise ConfigError(f"{entry.name} needs a surrogate; pass surrogate=")
    clock, goal = time.perf_counter(), clean.goal(rows)
    images, attack = clean.images[rows], entry.attack
    own, context, limits = evaluated.surrogate, clean.context_of(rows), clean.limits_of(rows)
    made = run(
        attack,
        own,
        goal,
        images,
        indices=clean.first + rows,
        context=context if own.takes_context else None,
        keep=Keep.HIGHEST_LOSS,
        engine=engine,
        mask=limits.mask,
        eps=limits.eps,
    )
    key = clean.key(rows, slot.seed, slot.draw_offset).reseeded(3)
    seen = predict_repeatedly(evaluated.target, made.examples, engine.batch_size, key, context)
    rate = aggregate(evaluated.target, seen, goal, clean.truth_of(rows)).rate
    success, one = rate > 0.5, torch.ones_like(rows)
    return Outcome(
        examples=made.examples,
        success=success,
        distance=torch.where(success, attack.ball.norm(made.examples - images), torch.inf),
        eps=made.eps,
        passes=Passes(one * len(seen), torch.zeros_like(rows), torch.zeros_like(rows)),
        queries_to_success=torch.where(success, one, -1),
        zero_gradient=torch.zeros_like(success),
        reason=torch.where(success, int(Reason.FOUND), int(Reason.EXHAUSTED)).to(torch.uint8),
        success_rate=rate,
        seconds=time.perf_counter() - clock,
        attack=entry.name,
        goal=made.goal,
    )
