"""Confirmation of examples: each is predicted again in float32, after rounding to 8 bits, and after JPEG."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ...access import Reason
from ...engine import Outcome
from ...geometry import L0, L1, L2, Ball, Linf, rowwise, tiny
from ...inputs import Images
from ...targets import Target
from ...threats import Norm
from ..suites.suite_entry import SuiteEntry
from .clean_chunk import CleanChunk
from .predictions import AggregatedPrediction, aggregate, compress_jpeg, predict_repeatedly, round_to_uint8

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
    """The confirmed result of one attack at one radius on the A rows of a chunk that were not broken yet.

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

    images: Tensor  # (F, ...) float32
    sizes: dict[str, Tensor]  # linf, l2, l1, l0 of example - input
    prediction: dict[str, Tensor]  # what the task reads of the answers: columns (F,) by name
    finite: Tensor  # bool
    margin: Tensor  # of the attacker's goal
    details: tuple[Any, ...]  # what a report needs of each answer beside the columns; empty: nothing
    rate_uint8: Tensor | None  # None, as the two that follow: inputs that are no images have no 8 bits
    uint8_size: Tensor | None  # in the threat's norm, after rounding
    survives_jpeg90: Tensor | None  # bool; None: JPEG has no such channels

    @property
    def survives_uint8(self) -> Tensor | None:
        return None if self.rate_uint8 is None else self.rate_uint8 > 0.5


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
    claims, graded = outcome.success_rate.float() > 0, clean.goal(rows).graded
    taken = claims | (outcome.examples.flatten(1) != clean.images[rows].flatten(1)).any(1) if graded else claims
    images = outcome.examples[taken].float()
    examples, rate = measure_examples(target, clean, rows[taken], images, entry.attack.ball, slot, batch_size)
    holds = rate > 0
    stored = holds | examples.finite if graded else holds
    kept, fell = taken.clone(), taken.clone()
    kept[taken], fell[taken] = stored, rate > 0.5
    whole = torch.zeros(len(rows))
    whole[taken] = rate
    reason = outcome.reason.clone()
    reason[outcome.success & (whole == 0)] = int(Reason.UNCONFIRMED)
    return AttackResult(
        slot=slot,
        attack=entry.name,
        access=entry.access.__name__,
        rows=rows,
        fell=fell,
        claimed=torch.where(whole > 0, outcome.success_rate.float(), 0.0),
        rate=whole,
        forwards=outcome.passes.forwards,
        backwards=outcome.passes.backwards,
        checks=outcome.passes.checks,
        first=outcome.queries_to_success.where(fell, -1),
        reason=reason,
        seconds=outcome.seconds,
        kept=kept,
        examples=select_examples(examples, stored),
    )


def measure_examples(
    target: Target[Any], clean: CleanChunk, rows: Tensor, images: Tensor, ball: Ball, slot: AttackSlot, batch_size: int
) -> tuple[Examples, Tensor]:
    """Predict the examples `images` (F, ...), images also in 8 bits and as JPEG; return them and their rates.

    The success rates are (F,). An example outside the ball, the valid range or the mask counts for nothing.
    """
    if not len(rows):
        nothing = torch.zeros(0)
        empty = Examples(images, dict.fromkeys(NORMS, nothing), {}, nothing.bool(), nothing, (), nothing, nothing, None)
        return empty, nothing
    originals, inputs = clean.images[rows].float(), target.inputs
    key = clean.key(rows, slot.seed, slot.draw_offset)
    context, goal, truth = clean.context_of(rows), clean.goal(rows), clean.truth_of(rows)

    def looked(examples: Tensor, draw: int) -> AggregatedPrediction:
        seen = predict_repeatedly(target, examples, batch_size, key.reseeded(draw), context)
        return aggregate(target, seen, goal, truth)

    seen = looked(images, 0)
    pictures = isinstance(inputs, Images)
    coarse = round_to_uint8(images, inputs) if pictures else None
    packed = compress_jpeg(images, inputs) if pictures else None
    examples = Examples(
        images=images,
        sizes={name: norm.norm(images - originals) for name, norm in NORMS.items()},
        prediction=seen.prediction,
        finite=seen.finite,
        margin=seen.margin,
        details=seen.details,
        rate_uint8=None if coarse is None else looked(coarse, 1).rate,
        uint8_size=None if coarse is None else ball.norm(coarse - originals),
        survives_jpeg90=None if packed is None else looked(packed, 2).rate > 0.5,
    )
    feasible = clean.region(rows, ball, inputs).contains(images)
    return examples, torch.where(feasible, seen.rate, 0.0)


def select_examples(examples: Examples, mask: Tensor) -> Examples:
    """Select the examples where `mask` (F,) is true."""
    return replace(
        examples,
        images=examples.images[mask],
        sizes={name: size[mask] for name, size in examples.sizes.items()},
        prediction={name: column[mask] for name, column in examples.prediction.items()},
        finite=examples.finite[mask],
        margin=examples.margin[mask],
        details=tuple(one for one, chosen in zip(examples.details, mask.tolist(), strict=False) if chosen),
        **{
            name: None if (values := getattr(examples, name)) is None else values[mask]
            for name in ("rate_uint8", "uint8_size", "survives_jpeg90")
        },
    )


def rescaled_success_rate(
    target: Target[Any], clean: CleanChunk, images: Tensor, rows: Tensor, ball: Ball, slot: AttackSlot, batch_size: int
) -> Tensor:
    """Return (len(rows),) success rates of the rows' examples in 8 bits after rescaling each to the whole radius."""
    if not len(rows):
        return torch.zeros(0)
    region = clean.region(rows, ball, target.inputs)
    delta = images.float() - region.x
    longer = delta * rowwise(region.eps / region.norm(delta).clamp_min(tiny(delta)), delta)
    coarse = round_to_uint8(region.x + region.project(longer), target.inputs)
    key = clean.key(rows, slot.seed, slot.draw_offset)
    seen = predict_repeatedly(target, coarse, batch_size, key, clean.context_of(rows))
    return aggregate(target, seen, clean.goal(rows), clean.truth_of(rows)).rate
