"""Examples made on a model of the attacker's own, tried once on the target (Papernot et al. 2016, arXiv:1605.07277).

The target is asked about the end of it only; what the attacker does at home costs it nothing, and is not counted.
"""

from __future__ import annotations

import time

import torch
from torch import Tensor

from ...access import Keep, Reason
from ...engine import Engine, Outcome, Spent, run
from ...errors import ConfigError
from ..suites.suite_entry import Entry
from .attacker_views import Ring
from .clean_chunk import Clean
from .confirmation import Place
from .predictions import judged, looks


def transferred(entry: Entry, ring: Ring, clean: Clean, rows: Tensor, place: Place, engine: Engine) -> Outcome:
    """The attack on the surrogate to its end, and what the target says of its worst examples."""
    if ring.surrogate is None:
        raise ConfigError(f"{entry.name} needs a surrogate; pass surrogate=")
    clock, goal = time.perf_counter(), clean.goal(rows)
    images, attack = clean.images[rows], entry.attack
    made = run(attack, ring.surrogate, goal, images, ids=clean.first + rows, keep=Keep.WORST, engine=engine)
    key = clean.key(rows, place.seed, place.moment).reseeded(3)
    seen = looks(ring.target, made.examples, engine.batch_size, key)
    rate = judged(ring.target, seen, goal, clean.labels[rows]).rate
    success, one = rate > 0.5, torch.ones_like(rows)
    return Outcome(
        examples=made.examples,
        success=success,
        size=torch.where(success, attack.ball.norm(made.examples - images), torch.inf),
        spent=Spent(one * len(seen), torch.zeros_like(rows), torch.zeros_like(rows)),
        first=torch.where(success, one, -1),
        reason=torch.where(success, int(Reason.FOUND), int(Reason.EXHAUSTED)).to(torch.uint8),
        rate=rate,
        seconds=time.perf_counter() - clock,
        attack=entry.name,
        goal=made.goal,
    )
