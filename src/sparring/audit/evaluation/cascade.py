"""The cascade: cheapest attack first, each on the images that still stand, every success looked at again.

An image that fell at a smaller radius of the same norm has fallen at the larger ones: its example lies inside. Where
that example dies when rounded to 8 bits, it is stretched to each larger radius and looked at again, one pass each.
Where a target has several views, the first one's attacks go through all radii before the next one's begin, so that
each view has a number of its own; who fell in the first is not attacked in the next.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from ...access import Keep
from ...engine import Engine, run
from ...geometry import Ball
from ...targets import Target
from ...threats import BALLS, Norm, Threat
from ..observer import AttackStarted, Watch
from ..plan import Plan
from ..suites.suite import TURNS, suite
from ..suites.suite_entry import Entry
from .attacker_views import Ring, detects, weighed
from .clean_chunk import Clean
from .confirmation import Attempt, Place, stretch, weigh
from .predictions import LOOKS, MOMENT
from .survivors import Pool, Standing
from .transfer import transferred


@dataclass(frozen=True)
class Stretched:
    """Rows whose example works in 8 bits once it is stretched to this radius; it did not before."""

    norm: Norm
    eps: float
    rows: Tensor
    rate: Tensor


Event = Attempt | Stretched


@dataclass(frozen=True)
class Turn:
    """One attack, once under one seed."""

    entry: Entry
    view: str
    target: Target[Any]
    number: int
    seed: int


def cascade(ring: Ring, clean: Clean, plan: Plan, watch: Watch) -> Iterator[Event]:
    """All attempts on one chunk, threat by threat."""
    arena = Arena(ring, clean, plan, watch)
    for threat in plan.threats:
        yield from arena.within(threat)
    for norm in plan.smallest:
        yield from arena.nearest(norm)


def turns(ring: Ring, ball: Ball, plan: Plan, view: int) -> Iterator[Turn]:
    """What one view's attackers do at a radius, in order."""
    name, target = ring.views[view]
    entries = suite(target.access, ball, plan, detects(target))
    for again in range(plan.repeats):
        for number, entry in enumerate(entries):
            turn = view * TURNS + again * len(entries) + number
            yield Turn(entry, name, weighed(target, entry.weight), turn, plan.seed + again)


Slot = tuple[Norm, int, int]  # an attack's norm, the number of its radius, and its own


def schedule(ring: Ring, plan: Plan) -> dict[Slot, tuple[float, float]]:
    """Of each attack on a chunk, in order: the share of all steps that lies before it, and its own share."""
    slots: dict[Slot, int] = {}
    lists: list[tuple[Norm, list[Ball]]] = [(threat.norm, threat.balls()) for threat in plan.threats]
    for norm, balls in [*lists, *((norm, [BALLS[norm]()]) for norm in plan.smallest)]:
        for view in range(len(ring.views)):
            for which, ball in enumerate(balls):
                for turn in turns(ring, ball, plan, view):
                    slots[norm, which, turn.number] = turn.entry.attack.steps
    ends = list(accumulate(slots.values()))
    return {
        slot: ((end - steps) / ends[-1], steps / ends[-1])
        for (slot, steps), end in zip(slots.items(), ends, strict=True)
    }


@dataclass(frozen=True)
class Arena:
    """A chunk of the data and all that is done to it."""

    ring: Ring
    clean: Clean
    plan: Plan
    watch: Watch

    @cached_property
    def schedule(self) -> dict[Slot, tuple[float, float]]:
        return schedule(self.ring, self.plan)

    def within(self, threat: Threat) -> Iterator[Event]:
        """All views at all radii of a threat."""
        balls, pool = threat.balls(), Pool()
        standing = [Standing.begin(self.clean) for _ in balls]
        for view in range(len(self.ring.views)):
            for which, ball in enumerate(balls):
                state = standing[which] if which == 0 else standing[which].joined(standing[which - 1])
                for turn in turns(self.ring, ball, self.plan, view):
                    rows = state.rows(self.clean)
                    if not len(rows):
                        break
                    attempt = self.attempt(turn, threat.norm, which, rows)
                    state = state.after(attempt, pool)
                    yield attempt
                standing[which] = state
        yield from self.stretched(threat, standing, pool)

    def nearest(self, norm: Norm) -> Iterator[Event]:
        """All attacks without a radius, each on every image that was right."""
        rows = self.clean.correct.nonzero().squeeze(1)
        for view in range(len(self.ring.views)):
            for turn in turns(self.ring, BALLS[norm](), self.plan, view):
                if len(rows):
                    yield self.attempt(turn, norm, 0, rows)

    def attempt(self, turn: Turn, norm: Norm, which: int, rows: Tensor) -> Attempt:
        """One attack on the rows."""
        clean, plan, attack = self.clean, self.plan, turn.entry.attack
        lower = None if plan.precision == "float32" else getattr(torch, plan.precision)
        engine = Engine(plan.batch_size, turn.seed, autocast=lower, progress=self.watch.step, looks=LOOKS)
        moment = MOMENT + len(self.ring.views) * TURNS * (which + 1) + turn.number
        place = Place(norm, attack.ball.eps, turn.view, turn.number, turn.seed, moment)
        self.watch.attacking(self.started(turn, norm, which, rows))
        if turn.entry.carried:
            outcome = transferred(turn.entry, self.ring, clean, rows, place, engine)
        else:
            outcome = run(
                attack,
                turn.target,
                clean.goal(rows),
                clean.images[rows],
                ids=clean.first + rows,
                keep=Keep.FIRST if math.isfinite(attack.ball.eps) else None,
                budget=turn.entry.budget,
                engine=engine,
            )
        return weigh(self.ring.target, clean, turn.entry, outcome, rows, place, plan.batch_size)

    def started(self, turn: Turn, norm: Norm, which: int, rows: Tensor) -> AttackStarted:
        """What the watch is told."""
        texts = [radius.text for threat in self.plan.threats if threat.norm == norm for radius in threat.radii]
        threat = f"{norm} {texts[which]}" if texts else norm
        done, share = self.schedule[norm, which, turn.number]
        name = f"{turn.view} {turn.entry.name}".strip()
        return AttackStarted(threat, name, len(rows), self.clean.first, len(self.clean), done, share)

    def stretched(self, threat: Threat, standing: list[Standing], pool: Pool) -> Iterator[Stretched]:
        """Examples that rounding undoes, given the whole of each radius."""
        lasting = torch.zeros(len(self.clean), dtype=torch.bool)
        for which, ball in enumerate(threat.balls()):
            state = replace(standing[which], lasting=standing[which].lasting | lasting)
            rows = state.short()
            place = Place(threat.norm, ball.eps, "", 0, self.plan.seed, MOMENT + 2 + which)
            rate = stretch(
                self.ring.target, self.clean, pool.take(state.place[rows]), rows, ball, place, self.plan.batch_size
            )
            won = rate > 0.5
            if bool(won.any()):
                state = state.lengthened(rows[won])
                yield Stretched(threat.norm, ball.eps, rows[won], rate[won])
            lasting = state.lasting
