"""The cascade: cheapest attack first, each on the images that still stand, every success looked at again.

An image that fell at a smaller radius of the same norm has fallen at the larger ones: its example lies inside. Where
that example dies when rounded to 8 bits, it is stretched to each larger radius and looked at again, one pass each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..access import Attack, Budget, Decisions, Keep, Reason
from ..engine import Engine, Outcome, run
from ..geometry import L0, L1, L2, Ball, Linf, rowwise, tiny
from ..goals import Misclassify
from ..targets import Target
from ..threats import Norm
from .judge import fooled, inside, look, rounded
from .plan import Plan
from .suite import suite
from .watch import Watch

NORMS: dict[str, Ball] = {"linf": Linf(), "l2": L2(), "l1": L1(), "l0": L0()}


@dataclass(frozen=True)
class Clean:
    """A chunk as the model sees it unharmed; all tensors on the CPU, one row per image."""

    first: int  # position of the first row in the data set
    names: list[str]
    images: Tensor
    labels: Tensor
    from_data: bool  # else the labels are the model's own predictions
    predicted: Tensor
    confidence: Tensor
    correct: Tensor

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Attempt:
    """One attack at one radius on the rows of a chunk that stood; `rows` are places in the chunk."""

    norm: Norm
    eps: float
    attack: str
    access: str
    rows: Tensor  # (A,)
    fell: Tensor  # (A,) bool, confirmed
    forwards: Tensor
    backwards: Tensor
    checks: Tensor
    first: Tensor
    reason: Tensor
    seconds: float
    fallen: Fallen


@dataclass(frozen=True)
class Fallen:
    """The examples of the rows that fell, in their order, and what the model says of them."""

    examples: Tensor  # (F, C, H, W) float32
    sizes: dict[str, Tensor]  # linf, l2, l1, l0 of example - image
    predicted: Tensor
    confidence: Tensor
    survives_uint8: Tensor
    uint8_size: Tensor  # in the threat's norm, after rounding


@dataclass(frozen=True)
class Stretched:
    """Rows whose example works in 8 bits once it is stretched to this radius; it did not before."""

    norm: Norm
    eps: float
    rows: Tensor


def cascade(target: Target[Any], clean: Clean, plan: Plan, watch: Watch) -> Iterator[Attempt | Stretched]:
    """All attempts on one chunk, threat by threat."""
    engine = Engine(batch_size=plan.batch_size, seed=plan.seed, progress=watch.step)
    for threat in plan.threats:
        standing, present = clean.correct.clone(), clean.images.clone()
        lasting = ~clean.correct  # needs no example that survives rounding, or has one
        for ball in threat.balls():
            for attack in suite(target.access, ball, plan):
                if not bool(standing.any()):
                    break
                rows = standing.nonzero().squeeze(1)
                outcome = run(
                    attack,
                    target,
                    Misclassify(clean.labels[rows]),
                    clean.images[rows],
                    ids=clean.first + rows,
                    keep=Keep.FIRST,
                    budget=Budget(forwards=plan.queries) if attack.access is Decisions else None,
                    engine=engine,
                )
                attempt = weigh(target, clean, attack, outcome, rows, (threat.norm, plan.batch_size))
                lost = attempt.rows[attempt.fell]
                present[lost], standing[lost] = attempt.fallen.examples.to(present.dtype), False
                lasting[lost] = attempt.fallen.survives_uint8
                yield attempt
            again = (~standing & ~lasting).nonzero().squeeze(1)
            saved = again[stretch(target, clean, present, again, ball, plan.batch_size)]
            if len(saved):
                lasting[saved] = True
                yield Stretched(threat.norm, ball.eps, saved)


def stretch(target: Target[Any], clean: Clean, present: Tensor, rows: Tensor, ball: Ball, batch_size: int) -> Tensor:
    """(len(rows),) bool: does the row's example work in 8 bits when it uses the whole radius?"""
    if not len(rows):
        return torch.zeros(0, dtype=torch.bool)
    originals = clean.images[rows].float()
    delta = present[rows].float() - originals
    longer = delta * rowwise(ball.eps / ball.norm(delta).clamp_min(tiny(delta)), delta)
    coarse = rounded(originals + ball.project(longer, originals))
    return fooled(look(target, coarse, batch_size), clean.labels[rows])


def weigh(
    target: Target[Any],
    clean: Clean,
    attack: Attack[Any, Any],
    outcome: Outcome,
    rows: Tensor,
    how: tuple[Norm, int],
) -> Attempt:
    """The outcome on the `rows` of the chunk that stood, each claimed success measured once more."""
    norm, batch_size = how
    claimed = outcome.success
    examples = outcome.examples[claimed].float()
    fell = claimed.clone()
    fallen, confirmed = examine(target, clean, rows[claimed], examples, attack.ball, batch_size)
    fell[claimed] = confirmed
    reason = outcome.reason.clone()
    reason[claimed & ~fell] = int(Reason.UNCONFIRMED)
    spent = outcome.spent
    return Attempt(
        norm=norm,
        eps=attack.ball.eps,
        attack=outcome.attack,
        access=attack.access.__name__,
        rows=rows,
        fell=fell,
        forwards=spent.forwards,
        backwards=spent.backwards,
        checks=spent.checks,
        first=outcome.first.where(fell, -1),
        reason=reason,
        seconds=outcome.seconds,
        fallen=fallen,
    )


def examine(
    target: Target[Any], clean: Clean, rows: Tensor, examples: Tensor, ball: Ball, batch_size: int
) -> tuple[Fallen, Tensor]:
    """What the target says of the examples, and of them rounded to 8 bits; and which of them are confirmed."""
    originals, labels = clean.images[rows].float(), clean.labels[rows]
    if not len(rows):
        nothing = torch.zeros(0)
        empty = Fallen(examples, dict.fromkeys(NORMS, nothing), nothing.long(), nothing, nothing.bool(), nothing)
        return empty, nothing.bool()
    seen = look(target, examples, batch_size)
    confirmed = fooled(seen, labels) & inside(ball, examples, originals)
    coarse = rounded(examples)
    survives = fooled(look(target, coarse, batch_size), labels)
    fallen = Fallen(
        examples=examples[confirmed],
        sizes={name: norm.norm(examples - originals)[confirmed] for name, norm in NORMS.items()},
        predicted=seen.predicted[confirmed],
        confidence=seen.confidence[confirmed],
        survives_uint8=survives[confirmed],
        uint8_size=ball.norm(coarse - originals)[confirmed],
    )
    return fallen, confirmed
