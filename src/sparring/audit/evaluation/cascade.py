"""The attack cascade on a chunk: cheapest attack first, each on the images not broken yet, every success confirmed.

An image that fell at a smaller radius of the same norm has fallen at the larger ones: its example lies inside. Where
that example fails when rounded to 8 bits, it is rescaled to each larger radius and measured again, one pass each. For
a graded goal each radius is attacked anew, and each attack spent to its end.
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
from ...inputs import Images
from ...targets import Target
from ...threats import BALLS, Norm, Threat
from ..observer import AttackStarted, AuditObserver
from ..plan import AuditPlan
from ..suites.suite import MAX_ATTACKS, suite
from ..suites.suite_entry import SuiteEntry
from .attacker_views import EvaluatedTarget, knows_detector, with_alarm_weight
from .clean_chunk import CleanChunk
from .confirmation import AttackResult, AttackSlot, confirm, rescaled_success_rate
from .predictions import CONFIRMATION_SAMPLES, DRAW_OFFSET
from .survivors import ExampleStore, Survivors
from .transfer import run_transfer


@dataclass(frozen=True)
class RescaledExample:
    """Rows of a chunk whose example fools the model in 8 bits only once it is rescaled to the radius `eps`.

    `rows` (R,) int64 are positions in the chunk, `rate` (R,) the share of answers in which the attacker wins.
    """

    norm: Norm
    eps: float
    rows: Tensor
    rate: Tensor


Event = AttackResult | RescaledExample


@dataclass(frozen=True)
class ScheduledAttack:
    """One attack of a suite under one seed, and the view of the target that it is given."""

    entry: SuiteEntry
    view: str
    target: Target[Any]
    attack_index: int  # among all attacks on this threat, in the order in which they run
    seed: int


def cascade(evaluated: EvaluatedTarget, clean: CleanChunk, plan: AuditPlan, observer: AuditObserver) -> Iterator[Event]:
    """Run every scheduled attack on one chunk, threat by threat, and yield the result of each."""
    evaluation = ChunkEvaluation(evaluated, clean, plan, observer)
    for threat in plan.threats:
        yield from evaluation.at_fixed_radii(threat)
    for norm in plan.smallest:
        yield from evaluation.at_minimum_norm(norm)


def scheduled_attacks(evaluated: EvaluatedTarget, ball: Ball, plan: AuditPlan, view: int) -> Iterator[ScheduledAttack]:
    """List the attacks of one view (an index of `evaluated.views`) on a ball, in the order in which they run."""
    name, target = evaluated.views[view]
    entries = suite(target.access, ball, plan, knows_detector(target))
    for again in range(plan.repeats):
        for number, entry in enumerate(entries):
            attack_index = view * MAX_ATTACKS + again * len(entries) + number
            yield ScheduledAttack(entry, name, with_alarm_weight(target, entry.weight), attack_index, plan.seed + again)


ScheduleKey = tuple[Norm, int, int]  # an attack's norm, the number of its radius, and its own


def step_shares(evaluated: EvaluatedTarget, plan: AuditPlan) -> dict[ScheduleKey, tuple[float, float]]:
    """Return for each attack on a chunk the share of all steps that lies before it, and its own share, in [0, 1]."""
    slots: dict[ScheduleKey, int] = {}
    lists: list[tuple[Norm, list[Ball]]] = [(threat.norm, threat.balls()) for threat in plan.threats]
    for norm, balls in [*lists, *((norm, [BALLS[norm]()]) for norm in plan.smallest)]:
        for view in range(len(evaluated.views)):
            for which, ball in enumerate(balls):
                for scheduled in scheduled_attacks(evaluated, ball, plan, view):
                    slots[norm, which, scheduled.attack_index] = scheduled.entry.attack.total_steps
    ends = list(accumulate(slots.values()))
    return {
        slot: ((end - steps) / ends[-1], steps / ends[-1])
        for (slot, steps), end in zip(slots.items(), ends, strict=True)
    }


@dataclass(frozen=True)
class ChunkEvaluation:
    """The evaluation of one chunk: the target, the clean chunk, the plan, and the observer."""

    evaluated: EvaluatedTarget
    clean: CleanChunk
    plan: AuditPlan
    observer: AuditObserver

    @cached_property
    def schedule(self) -> dict[ScheduleKey, tuple[float, float]]:
        return step_shares(self.evaluated, self.plan)

    def at_fixed_radii(self, threat: Threat) -> Iterator[Event]:
        """Attack from all views at all radii of a threat; only images not broken yet are attacked."""
        balls, store = threat.balls(), ExampleStore()
        standing = [Survivors.begin(self.clean) for _ in balls]
        for view in range(len(self.evaluated.views)):
            for which, ball in enumerate(balls):
                again = which == 0 or self.clean.goal(slice(0, 1)).graded
                state = standing[which] if again else standing[which].merged(standing[which - 1])
                for scheduled in scheduled_attacks(self.evaluated, ball, self.plan, view):
                    rows = state.remaining(self.clean)
                    if not len(rows):
                        break
                    result = self.run_attack(scheduled, threat.norm, which, rows)
                    state = state.after(result, store)
                    yield result
                standing[which] = state
        yield from self.rescale(threat, standing, store)

    def at_minimum_norm(self, norm: Norm) -> Iterator[Event]:
        """Run all attacks without a radius, each on every image that is classified right."""
        rows = self.clean.correct.nonzero().squeeze(1)
        for view in range(len(self.evaluated.views)):
            for scheduled in scheduled_attacks(self.evaluated, BALLS[norm](), self.plan, view):
                if len(rows):
                    yield self.run_attack(scheduled, norm, 0, rows)

    def run_attack(self, scheduled: ScheduledAttack, norm: Norm, which: int, rows: Tensor) -> AttackResult:
        """Run one attack on the rows (A,) of the chunk and confirm its successes; `which` is the radius' index."""
        clean, plan, attack = self.clean, self.plan, scheduled.entry.attack
        lower = None if plan.precision == "float32" else getattr(torch, plan.precision)
        engine = Engine(
            plan.batch_size,
            scheduled.seed,
            autocast=lower,
            progress=self.observer.step,
            confirmation_samples=CONFIRMATION_SAMPLES,
        )
        draw_offset = DRAW_OFFSET + len(self.evaluated.views) * MAX_ATTACKS * (which + 1) + scheduled.attack_index
        slot = AttackSlot(norm, attack.ball.eps, scheduled.view, scheduled.attack_index, scheduled.seed, draw_offset)
        self.observer.attacking(self.describe_attack(scheduled, norm, which, rows))
        if scheduled.entry.transferred:
            outcome = run_transfer(scheduled.entry, self.evaluated, clean, rows, slot, engine)
        else:
            limits = clean.limits_of(rows)
            outcome = run(
                attack,
                scheduled.target,
                clean.goal(rows),
                clean.images[rows],
                indices=clean.first + rows,
                keep=self.kept_example(attack.ball),
                budget=scheduled.entry.budget,
                engine=engine,
                context=clean.context_of(rows),
                mask=limits.mask,
                eps=limits.eps,
            )
        return confirm(self.evaluated.target, clean, scheduled.entry, outcome, rows, slot, plan.batch_size)

    def kept_example(self, ball: Ball) -> Keep | None:
        """Return which example is kept: the first success, of a graded goal that of the highest margin."""
        if not math.isfinite(ball.eps):
            return None
        return Keep.HIGHEST_MARGIN if self.clean.goal(slice(0, 1)).graded else Keep.FIRST

    def describe_attack(self, scheduled: ScheduledAttack, norm: Norm, which: int, rows: Tensor) -> AttackStarted:
        """Describe the attack that is about to begin, for the observer."""
        texts = [radius.text for threat in self.plan.threats if threat.norm == norm for radius in threat.radii]
        threat = f"{norm} {texts[which]}" if texts else norm
        done, share = self.schedule[norm, which, scheduled.attack_index]
        name = f"{scheduled.view} {scheduled.entry.name}".strip()
        return AttackStarted(threat, name, len(rows), self.clean.first, len(self.clean), done, share)

    def rescale(self, threat: Threat, standing: list[Survivors], store: ExampleStore) -> Iterator[RescaledExample]:
        """Rescale the examples that 8-bit rounding undoes to each whole radius; yield those that then work.

        What is no image has no 8 bits to be rounded to.
        """
        if not isinstance(self.evaluated.target.inputs, Images):
            return
        survives_rounding = torch.zeros(len(self.clean), dtype=torch.bool)
        for which, ball in enumerate(threat.balls()):
            state = replace(standing[which], survives_rounding=standing[which].survives_rounding | survives_rounding)
            rows = state.lost_to_rounding()
            slot = AttackSlot(threat.norm, ball.eps, "", 0, self.plan.seed, DRAW_OFFSET + 2 + which)
            rate = rescaled_success_rate(
                self.evaluated.target,
                self.clean,
                store.take(state.position[rows]),
                rows,
                ball,
                slot,
                self.plan.batch_size,
            )
            won = rate > 0.5
            if bool(won.any()):
                state = state.with_rescaled(rows[won])
                yield RescaledExample(threat.norm, ball.eps, rows[won], rate[won])
            survives_rounding = state.survives_rounding
