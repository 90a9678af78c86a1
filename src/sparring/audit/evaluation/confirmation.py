"""What an attack brought, weighed by the auditor: each example is looked at again, as it is and as a file keeps it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ...access import Reason
from ...engine import Outcome
from ...geometry import L0, L1, L2, Ball, Linf, rowwise, tiny
from ...targets import Target
from ...threats import Norm
from ..suites.suite_entry import Entry
from .clean_chunk import Clean
from .predictions import compressed, inside, judged, looks, rounded

NORMS: dict[str, Ball] = {"linf": Linf(), "l2": L2(), "l1": L1(), "l0": L0()}


@dataclass(frozen=True)
class Place:
    """Where in an audit an attack stood, and the number of its turn among all on this threat."""

    norm: Norm
    eps: float
    view: str
    turn: int
    seed: int
    moment: int  # of the auditor's own draws


@dataclass(frozen=True)
class Attempt:
    """One attack at one radius on the rows of a chunk that stood; `rows` are places in the chunk."""

    place: Place
    attack: str
    access: str
    rows: Tensor  # (A,)
    fell: Tensor  # (A,) bool, confirmed
    claimed: Tensor  # (A,) share of the engine's looks in which the attacker won; 0 where not confirmed
    rate: Tensor  # (A,) share of the auditor's looks
    forwards: Tensor
    backwards: Tensor
    checks: Tensor
    first: Tensor
    reason: Tensor
    seconds: float
    kept: Tensor  # (A,) bool: rows with an example
    examples: Examples


@dataclass(frozen=True)
class Examples:
    """The examples of the rows that have one, in their order, and what the model says of them."""

    images: Tensor  # (F, C, H, W) float32
    sizes: dict[str, Tensor]  # linf, l2, l1, l0 of example - image
    predicted: Tensor
    confidence: Tensor
    rate_uint8: Tensor
    uint8_size: Tensor  # in the threat's norm, after rounding
    survives_jpeg90: Tensor | None  # bool; None: JPEG has no such channels

    @property
    def survives_uint8(self) -> Tensor:
        return self.rate_uint8 > 0.5


def weigh(
    target: Target[Any], clean: Clean, entry: Entry, outcome: Outcome, rows: Tensor, place: Place, batch_size: int
) -> Attempt:
    """The outcome on the `rows` of the chunk that stood, each claim measured once more."""
    claims = outcome.rate.float() > 0
    images = outcome.examples[claims].float()
    examples, rate = examine(target, clean, rows[claims], images, entry.attack.ball, place, batch_size)
    holds = rate > 0
    kept, fell = claims.clone(), claims.clone()
    kept[claims], fell[claims] = holds, rate > 0.5
    whole = torch.zeros(len(rows))
    whole[claims] = rate
    reason = outcome.reason.clone()
    reason[outcome.success & (whole == 0)] = int(Reason.UNCONFIRMED)
    return Attempt(
        place=place,
        attack=entry.name,
        access=entry.access.__name__,
        rows=rows,
        fell=fell,
        claimed=torch.where(kept, outcome.rate.float(), 0.0),
        rate=whole,
        forwards=outcome.spent.forwards,
        backwards=outcome.spent.backwards,
        checks=outcome.spent.checks,
        first=outcome.first.where(fell, -1),
        reason=reason,
        seconds=outcome.seconds,
        kept=kept,
        examples=only(examples, holds),
    )


def examine(
    target: Target[Any], clean: Clean, rows: Tensor, images: Tensor, ball: Ball, place: Place, batch_size: int
) -> tuple[Examples, Tensor]:
    """What the target says of the examples, and of what a file would keep of them; and in which share the attacker won.

    An example outside the ball or the valid range counts for nothing.
    """
    originals, labels, goal = clean.images[rows].float(), clean.labels[rows], clean.goal(rows)
    if not len(rows):
        nothing = torch.zeros(0)
        empty = Examples(images, dict.fromkeys(NORMS, nothing), nothing.long(), nothing, nothing, nothing, None)
        return empty, nothing
    key = clean.key(rows, place.seed, place.moment)
    seen = judged(target, looks(target, images, batch_size, key.reseeded(0)), goal, labels)
    coarse, packed = rounded(images), compressed(images)
    in_8_bits = judged(target, looks(target, coarse, batch_size, key.reseeded(1)), goal, labels)
    in_jpeg = None
    if packed is not None:
        in_jpeg = judged(target, looks(target, packed, batch_size, key.reseeded(2)), goal, labels).rate > 0.5
    examples = Examples(
        images=images,
        sizes={name: norm.norm(images - originals) for name, norm in NORMS.items()},
        predicted=seen.predicted,
        confidence=seen.confidence,
        rate_uint8=in_8_bits.rate,
        uint8_size=ball.norm(coarse - originals),
        survives_jpeg90=in_jpeg,
    )
    return examples, torch.where(inside(ball, images, originals), seen.rate, 0.0)


def only(examples: Examples, mask: Tensor) -> Examples:
    """Some of the examples."""
    jpeg = examples.survives_jpeg90
    return replace(
        examples,
        images=examples.images[mask],
        sizes={name: size[mask] for name, size in examples.sizes.items()},
        predicted=examples.predicted[mask],
        confidence=examples.confidence[mask],
        rate_uint8=examples.rate_uint8[mask],
        uint8_size=examples.uint8_size[mask],
        survives_jpeg90=None if jpeg is None else jpeg[mask],
    )


def stretch(
    target: Target[Any], clean: Clean, images: Tensor, rows: Tensor, ball: Ball, place: Place, batch_size: int
) -> Tensor:
    """(len(rows),) in which share of the answers the row's example wins in 8 bits when it uses the whole radius."""
    if not len(rows):
        return torch.zeros(0)
    originals = clean.images[rows].float()
    delta = images.float() - originals
    longer = delta * rowwise(ball.eps / ball.norm(delta).clamp_min(tiny(delta)), delta)
    coarse = rounded(originals + ball.project(longer, originals))
    seen = looks(target, coarse, batch_size, clean.key(rows, place.seed, place.moment))
    return judged(target, seen, clean.goal(rows), clean.labels[rows]).rate
