"""The few images on which probes run, and what is measured of each."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, cast

import torch
from torch import Tensor

from ...access import Attack, Keep
from ...engine import Engine, Outcome, run
from ...geometry import L2, Ball, Linf
from ...goals import Climb
from ...rows import join, take
from ...targets import AdaptiveView, Target
from ...zoo import DataSource
from ..evaluation.admission import Admission
from ..evaluation.attacker_views import EvaluatedTarget
from ..evaluation.batches import limit_chunks
from ..evaluation.clean_chunk import CleanChunk
from ..evaluation.predictions import DRAW_OFFSET, predict_repeatedly
from ..observer import AuditObserver
from ..plan import AuditPlan

IMAGES = {"quick": 8, "standard": 32, "thorough": 64}  # at most
FEWEST, SHARE = 8, 10  # probes of fewer tell nothing; more than a tenth of the data would cost more than its attacks
SEARCHED = 8  # times as many are read at most to find that many that the model classifies right
DRAWS = 8  # passes that a probe's question of a random defence is averaged over, at most
USUAL = 4 / 255  # Linf, where the plan's norms are others


@dataclass(frozen=True)
class ProbeSample:
    """The first images that the model classifies right, and the target that is probed with them."""

    evaluated: EvaluatedTarget
    plan: AuditPlan
    images: Tensor
    clean: CleanChunk  # of these images; its goal is the attacker's
    indices: Tensor
    ball: Ball
    observer: AuditObserver

    def __len__(self) -> int:
        return len(self.images)

    @property
    def view(self) -> Target[Any]:
        """The view of the strongest attacker; if random, with fewer draws than in the audit."""
        known = self.evaluated.strongest
        if isinstance(known, AdaptiveView) and known.draws > DRAWS:
            return AdaptiveView(known.defended, DRAWS, known.weight)
        return known

    @property
    def restricted(self) -> bool:
        """May some components not move?"""
        return self.clean.limits.mask is not None

    def attack(
        self,
        attack: Attack[Any, Any],
        keep: Keep = Keep.HIGHEST_MARGIN,
        rows: Tensor | None = None,
        target: Target[Any] | None = None,
        loss: Climb | None = None,
    ) -> Outcome:
        """Return the attack on the sample, or on some rows of it; by default its highest margins come back.

        `target` is what is attacked in place of the view of whoever knows most; `loss` is climbed in place of the
        goal's own, where the goal has one.
        """
        chosen = torch.arange(len(self)) if rows is None else rows
        attacked = self.view if target is None else target
        limits, goal = self.clean.limits_of(chosen), self.clean.goal(chosen)
        if loss is not None and any(one.name == "loss" for one in fields(cast(Any, goal))):
            goal = replace(cast(Any, goal), loss=loss)
        return run(
            attack,
            attacked,
            goal,
            self.images[chosen],
            indices=self.indices[chosen],
            context=self.clean.context_of(chosen) if attacked.takes_context else None,
            keep=keep,
            engine=Engine(self.plan.batch_size, self.plan.seed, progress=self.observer.step),
            mask=limits.mask,
            eps=limits.eps if attack.ball == self.ball else None,  # radii of rows are those of the plan's threat
        )

    def margins(self, images: Tensor) -> Tensor:
        """Return the goal's margins (N,), above 0 where the attack succeeds; medians of several answers if random."""
        target = self.evaluated.target
        key = self.clean.key(torch.arange(len(images)), self.plan.seed, DRAW_OFFSET - 1)
        goal = target.confirming_target.adapt_goal(self.clean.goal())
        seen = predict_repeatedly(target, images, self.plan.batch_size, key, self.clean.context)
        return torch.stack([goal(one.answer).margin for one in seen]).median(0).values


def gather_sample(
    evaluated: EvaluatedTarget, admission: Admission, source: DataSource, plan: AuditPlan, observer: AuditObserver
) -> ProbeSample | None:
    """Return the sample; None where the model is right on none of the images that were read."""
    wanted, there = IMAGES[plan.suite if isinstance(plan.suite, str) else "standard"], source.candidates
    count = plan.limit if there is None else apply_limit(plan.limit, there)
    if count is not None:
        wanted = min(wanted, max(FEWEST, count // SHARE))
    parts: list[CleanChunk] = []
    found = 0
    for chunk in limit_chunks(source, min(plan.batch_size, wanted), apply_limit(plan.limit, SEARCHED * wanted)):
        clean = admission.admit(chunk)
        parts.append(clean)
        found += int(clean.correct.sum())
        if found >= wanted:
            break
    if not found:
        return None
    clean = right_ones(parts, wanted)
    ball = probe_ball(plan, evaluated.target.inputs.scale)
    if all(ball not in threat.balls() for threat in plan.threats):  # a radius of a row is one of the plan's norm
        clean = replace(clean, limits=replace(clean.limits, eps=None))
    return ProbeSample(evaluated, plan, clean.images, clean, positions(parts, wanted), ball, observer)


def right_rows(parts: list[CleanChunk]) -> list[Tensor]:
    """Return the rows of each chunk that the model is right on."""
    return [part.correct.nonzero().squeeze(1) for part in parts]


def positions(parts: list[CleanChunk], wanted: int) -> Tensor:
    """Return the positions in the data set of the first inputs that the model is right on."""
    return torch.cat([part.first + rows for part, rows in zip(parts, right_rows(parts), strict=True)])[:wanted]


def right_ones(parts: list[CleanChunk], wanted: int) -> CleanChunk:
    """Return the first `wanted` inputs that the model is right on, as one chunk."""
    chosen = [(part, rows) for part, rows in zip(parts, right_rows(parts), strict=True) if len(rows)]

    def joined(records: list[Any]) -> Any:
        """The rows of one record of each chunk, put together."""
        whole = join([take(record, rows) for record, (_, rows) in zip(records, chosen, strict=True)])
        return take(whole, slice(0, wanted))

    names = [str(number) for number in positions(parts, wanted).tolist()]
    fields = ("images", "truth", "finite", "correct", "claimed", "rate", "rejected", "aim", "context", "limits")
    rest = {name: joined([getattr(part, name) for part, _ in chosen]) for name in fields}
    columns = {name: joined([part.prediction[name] for part, _ in chosen]) for name in parts[0].prediction}
    return CleanChunk(first=0, names=names, from_data=parts[0].from_data, prediction=columns, **rest)


def apply_limit(limit: int | None, most: int) -> int:
    """Return the smaller of a plan's limit and `most`; `most` where there is no limit."""
    return most if limit is None else min(limit, most)


def probe_ball(plan: AuditPlan, scale: float = 1.0) -> Ball:
    """Return the middle radius of the first threat in Linf or L2; else a usual one, in units of `scale`."""
    for threat in plan.threats:
        balls = threat.balls()
        if isinstance(balls[0], Linf | L2):
            return balls[(len(balls) - 1) // 2]
    return Linf(USUAL * scale)
