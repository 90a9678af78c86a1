"""The few images that probes are made on, and what is measured of any image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...access import Attack, Keep
from ...engine import Engine, Outcome, run
from ...geometry import L2, Ball, Linf
from ...targets import Audited, Target
from ..evaluation.admission import Door
from ..evaluation.attacker_views import Ring
from ..evaluation.batches import Source, limited
from ..evaluation.clean_chunk import Clean
from ..evaluation.predictions import MOMENT, looks
from ..observer import Watch
from ..plan import Plan

IMAGES = {"quick": 8, "standard": 32, "thorough": 64}  # at most
FEWEST, SHARE = 8, 10  # probes of fewer tell nothing; more than a tenth of the data would cost more than its attacks
SEARCHED = 8  # times as many are read at most to find that many that the model classifies right
DRAWS = 8  # passes that a probe's question of a random defence is averaged over, at most
USUAL = 4 / 255  # Linf, where the plan's norms are others


@dataclass(frozen=True)
class Sample:
    """The first images that the model classifies right, and who is asked about them."""

    ring: Ring
    plan: Plan
    images: Tensor
    labels: Tensor
    clean: Clean  # of these images; its goal is the attacker's
    ids: Tensor
    ball: Ball
    watch: Watch

    def __len__(self) -> int:
        return len(self.images)

    @property
    def view(self) -> Target[Any]:
        """The target of whoever knows most; of a random one, with fewer draws than in the audit."""
        known = self.ring.strongest
        if isinstance(known, Audited) and known.draws > DRAWS:
            return Audited(known.defended, DRAWS, known.weight)
        return known

    def attacked(self, attack: Attack[Any, Any], keep: Keep = Keep.SUREST, rows: Tensor | None = None) -> Outcome:
        """The attack on the sample, or on some rows of it; by default its highest margins come back."""
        chosen = torch.arange(len(self)) if rows is None else rows
        engine = Engine(self.plan.batch_size, self.plan.seed, progress=self.watch.step)
        goal, images = self.clean.goal(chosen), self.images[chosen]
        return run(attack, self.view, goal, images, ids=self.ids[chosen], keep=keep, engine=engine)

    def margins(self, images: Tensor) -> Tensor:
        """(N,) the attacker's lead, above 0 where he has won; the median of several answers where they are random."""
        target = self.ring.target
        key = self.clean.key(torch.arange(len(images)), self.plan.seed, MOMENT - 1)
        goal = target.deployed.reading(self.clean.goal())
        seen = looks(target, images, self.plan.batch_size, key)
        return torch.stack([goal(one.answer).margin for one in seen]).median(0).values


def gathered(ring: Ring, door: Door, source: Source, plan: Plan, watch: Watch) -> Sample | None:
    """The sample; None where the model is right on none of the images that were read."""
    wanted, there = IMAGES[plan.suite if isinstance(plan.suite, str) else "standard"], source.candidates
    count = plan.limit if there is None else least(plan.limit, there)
    if count is not None:
        wanted = min(wanted, max(FEWEST, count // SHARE))
    parts: list[Clean] = []
    found = 0
    for chunk in limited(source, min(plan.batch_size, wanted), least(plan.limit, SEARCHED * wanted)):
        clean = door.admit(chunk)
        parts.append(clean)
        found += int(clean.correct.sum())
        if found >= wanted:
            break
    if not found:
        return None
    rows = [part.correct.nonzero().squeeze(1) for part in parts]

    def joined(name: str) -> Tensor:
        return torch.cat([getattr(part, name)[here] for part, here in zip(parts, rows, strict=True)])[:wanted]

    ids = torch.cat([part.first + here for part, here in zip(parts, rows, strict=True)])[:wanted]
    tensors = {name: joined(name) for name in ("images", "labels", "predicted", "confidence", "correct", "claimed")}
    rest = {name: joined(name) for name in ("rate", "rejected")}
    aims = None if parts[0].aims is None else joined("aims")
    names = [str(number) for number in ids.tolist()]
    clean = Clean(first=0, names=names, from_data=parts[0].from_data, aims=aims, **tensors, **rest)
    return Sample(ring, plan, clean.images, clean.labels, clean, ids, chosen_ball(plan), watch)


def least(limit: int | None, most: int) -> int:
    return most if limit is None else min(limit, most)


def chosen_ball(plan: Plan) -> Ball:
    """The middle radius of the first threat in Linf or L2; a usual one where there is none."""
    for threat in plan.threats:
        balls = threat.balls()
        if isinstance(balls[0], Linf | L2):
            return balls[(len(balls) - 1) // 2]
    return Linf(USUAL)
