"""Confirm what an attack returned: each example is predicted again, as it is, in 8 bits and after JPEG."""

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
from ..suites.suite_entry import SuiteEntry
from .clean_chunk import CleanChunk
from .predictions import aggregate, compress_jpeg, is_feasible, predict_repeatedly, round_to_uint8

NORMS: dict[str, Ball] = {"linf": Linf(), "l2": L2(), "l1": L1(), "l0": L0()}


@dataclass(frozen=True)
class AttackSlot:
    """The place of an attack in the audit: threat, view, index among all attacks on this threat, and seed."""

    norm: Norm
    eps: float
    view: str
    attack_index: int
    seed: int
    draw_offset: int  # offset of the draws that confirm its examples


@dataclass(frozen=True)
class AttackResult:
    """The confirmed result of one attack at one radius on the A rows of a chunk that still stood.

    `rows` (A,) int64 are positions in the chunk; passes are per row.
    """

    slot: AttackSlot
    attack: str
    access: str
    rows: Tensor  # (A,)
    fell: Tensor  # (A,) bool, confirmed
    claimed: Tensor  # (A,) share of the engine's confirmation samples that the attacker won; 0 where not confirmed
    rate: Tensor  # (A,) share of the audit's own confirmation samples
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
    """The F examples of the rows that have one, in their order, and what the model predicts for them."""

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


def confirm(
    target: Target[Any],
    clean: CleanChunk,
    entry: SuiteEntry,
    outcome: Outcome,
    rows: Tensor,
    slot: AttackSlot,
    batch_size: int,
) -> AttackResult:
    """Measure every claimed success of `outcome` once more; `rows` (A,) are positions in the chunk."""
    claims = outcome.success_rate.float() > 0
    images = outcome.examples[claims].float()
    examples, rate = measure_examples(target, clean, rows[claims], images, entry.attack.ball, slot, batch_size)
    holds = rate > 0
    kept, fell = claims.clone(), claims.clone()
    kept[claims], fell[claims] = holds, rate > 0.5
    whole = torch.zeros(len(rows))
    whole[claims] = rate
    reason = outcome.reason.clone()
    reason[outcome.success & (whole == 0)] = int(Reason.UNCONFIRMED)
    return AttackResult(
        slot=slot,
        attack=entry.name,
        access=entry.access.__name__,
        rows=rows,
        fell=fell,
        claimed=torch.where(kept, outcome.success_rate.float(), 0.0),
        rate=whole,
        forwards=outcome.passes.forwards,
        backwards=outcome.passes.backwards,
        checks=outcome.passes.checks,
        first=outcome.queries_to_success.where(fell, -1),
        reason=reason,
        seconds=outcome.seconds,
        kept=kept,
        examples=select_examples(examples, holds),
    )


def measure_examples(
    target: Target[Any], clean: CleanChunk, rows: Tensor, images: Tensor, ball: Ball, slot: AttackSlot, batch_size: int
) -> tuple[Examples, Tensor]:
    """Predict the examples `images` (F, C, H, W), also in 8 bits and as JPEG; return them and their success rates (F,).

    An example outside the ball or the valid range counts for nothing.
    """
    originals, labels, goal = clean.images[rows].float(), clean.labels[rows], clean.goal(rows)
    if not len(rows):
        nothing = torch.zeros(0)
        empty = Examples(images, dict.fromkeys(NORMS, nothing), nothing.long(), nothing, nothing, nothing, None)
        return empty, nothing
    key = clean.key(rows, slot.seed, slot.draw_offset)
    seen = aggregate(target, predict_repeatedly(target, images, batch_size, key.reseeded(0)), goal, labels)
    coarse, packed = round_to_uint8(images), compress_jpeg(images)
    in_8_bits = aggregate(target, predict_repeatedly(target, coarse, batch_size, key.reseeded(1)), goal, labels)
    in_jpeg = None
    if packed is not None:
        in_jpeg = (
            aggregate(target, predict_repeatedly(target, packed, batch_size, key.reseeded(2)), goal, labels).rate > 0.5
        )
    examples = Examples(
        images=images,
        sizes={name: norm.norm(images - originals) for name, norm in NORMS.items()},
        predicted=seen.predicted,
        confidence=seen.confidence,
        rate_uint8=in_8_bits.rate,
        uint8_size=ball.norm(coarse - originals),
        survives_jpeg90=in_jpeg,
    )
    return examples, torch.where(is_feasible(ball, images, originals), seen.rate, 0.0)


def select_examples(examples: Examples, mask: Tensor) -> Examples:
    """Select the examples where `mask` (F,) is true."""
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


def rescaled_success_rate(
    target: Target[Any], clean: CleanChunk, images: Tensor, rows: Tensor, ball: Ball, slot: AttackSlot, batch_size: int
) -> Tensor:
    """Return (len(rows),) success rates of the rows' examples in 8 bits after rescaling each to the whole radius."""
    if not len(rows):
        return torch.zeros(0)
    originals = clean.images[rows].float()
    delta = images.float() - originals
    longer = delta * rowwise(ball.eps / ball.norm(delta).clamp_min(tiny(delta)), delta)
    coarse = round_to_uint8(originals + ball.project(longer, originals))
    seen = predict_repeatedly(target, coarse, batch_size, clean.key(rows, slot.seed, slot.draw_offset))
    return aggregate(target, seen, clean.goal(rows), clean.labels[rows]).rate
