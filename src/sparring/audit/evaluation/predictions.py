"""The auditor's own look at images: the untouched target, in float32, away from the attacks' ledger.

A target whose answers are random is looked at LOOKS times, each time with draws of its own; what counts is the share
of these answers in which the attacker has won.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...errors import out_of_memory
from ...geometry import Ball
from ...goals import Goal, Misclassify, Screened
from ...random import Key
from ...targets import JPEG, Target, answered

LEVELS = 255
TOLERANCE = 1e-6
LOOKS = 20
QUALITY = 90
MOMENT = 1 << 42  # where the auditor's own draws begin; the engine's are numbered below


class Look(NamedTuple):
    """What the target says of B images; everything on the CPU."""

    outputs: Tensor  # (B, K) float32
    predicted: Tensor  # (B,) int64
    confidence: Tensor  # (B,) softmax probability of the prediction; 0 where the output is not finite
    finite: Tensor  # (B,) bool
    alarm: Tensor | None = None  # (B,) above 0 where a detector rejects; None: there is none

    @property
    def answer(self) -> Any:
        """The outputs as the target's goals read them."""
        return self.outputs if self.alarm is None else Screened(self.outputs, self.alarm)

    @property
    def rejected(self) -> Tensor:
        """(B,) bool"""
        return torch.zeros_like(self.finite) if self.alarm is None else self.alarm > 0


class Judged(NamedTuple):
    """What several answers come to; everything on the CPU."""

    rate: Tensor  # (B,) share of the answers in which the attacker has won
    missed: Tensor  # (B,) share of the answers that another class leads, or that are rejected
    rejected: Tensor  # (B,) share of the answers that are rejected
    predicted: Tensor  # (B,) what is predicted most often
    confidence: Tensor  # (B,) mean over the answers
    finite: Tensor  # (B,) bool: every answer


def look(target: Target[Any], images: Tensor, batch_size: int, key: Key | None = None) -> Look:
    """The target's answers, `batch_size` images at a time and half as many where memory runs out.

    `key` (one id per image) is what a target with randomness draws from.
    """
    target, start, parts = target.deployed, 0, []
    with target.frozen(), torch.no_grad():
        while start < len(images):
            rows = slice(start, min(start + batch_size, len(images)))
            try:
                parts.append(_asked(target, images[rows], None if key is None else replace(key, ids=key.ids[rows])))
            except RuntimeError as error:
                if batch_size == 1 or not out_of_memory(error):
                    raise
                batch_size = max(1, (rows.stop - rows.start) // 2)
                continue
            start = rows.stop
    alarms = [alarm for _, alarm in parts if alarm is not None]
    outputs, alarm = torch.cat([part for part, _ in parts]), torch.cat(alarms) if alarms else None
    finite = outputs.isfinite().all(1)
    if alarm is not None:
        finite &= alarm.isfinite()
    calm = torch.where(finite[:, None], outputs, 0.0)
    confidence, predicted = calm.softmax(1).max(1)
    return Look(outputs, predicted, torch.where(finite, confidence, 0.0), finite, alarm)


def _asked(target: Target[Any], images: Tensor, key: Key | None) -> tuple[Tensor, Tensor | None]:
    if key is not None:
        key = replace(key, ids=key.ids.to(target.device))
    said = answered(target, images.float().to(target.device), key)
    if isinstance(said, Screened):
        return said.outputs.float().cpu(), said.alarm.float().cpu()
    return said.float().cpu(), None


def fooled(target: Target[Any], seen: Look, goal: Goal) -> Tensor:
    """(B,) bool: the goal is met, by the rule that the attacks were judged by."""
    return (target.deployed.reading(goal)(seen.answer).margin > 0) & seen.finite


def missed(seen: Look, labels: Tensor) -> Tensor:
    """(B,) bool: another class leads the label, the answer is not finite, or the image is rejected."""
    return (Misclassify(labels)(seen.outputs).margin > 0) | ~seen.finite | seen.rejected


def looks(target: Target[Any], images: Tensor, batch_size: int, key: Key) -> list[Look]:
    """LOOKS answers to each image, or one where the target is not random; `key` is fresh."""
    if not target.deployed.stochastic:
        return [look(target, images, batch_size)]
    again = images.repeat(LOOKS, *[1] * (images.ndim - 1))
    drawn = replace(key, ids=torch.cat([key.at(which).ids for which in range(LOOKS)]))
    whole = look(target, again, batch_size, drawn)
    return [Look(*parts) for parts in zip(*(split(field, len(images)) for field in whole), strict=True)]


def split(field: Tensor | None, size: int) -> list[Tensor | None]:
    """LOOKS parts of one field."""
    return [None] * LOOKS if field is None else list(torch.split(field, size))


def judged(target: Target[Any], seen: list[Look], goal: Goal, labels: Tensor) -> Judged:
    """The answers, judged by the attacker's goal and against the labels."""

    def share(values: list[Tensor]) -> Tensor:
        return torch.stack(values).float().mean(0)

    return Judged(
        rate=share([fooled(target, one, goal) for one in seen]),
        missed=share([missed(one, labels) for one in seen]),
        rejected=share([one.rejected for one in seen]),
        predicted=torch.stack([one.predicted for one in seen]).mode(0).values,
        confidence=share([one.confidence for one in seen]),
        finite=torch.stack([one.finite for one in seen]).all(0),
    )


def inside(ball: Ball, examples: Tensor, originals: Tensor) -> Tensor:
    """(B,) bool: within the ball and the valid range, rounding apart."""
    flat = examples.flatten(1)
    valid = (flat.amin(1) >= -TOLERANCE) & (flat.amax(1) <= 1 + TOLERANCE)
    return valid & (ball.norm(examples - originals) <= ball.eps + TOLERANCE * max(1.0, ball.eps))


def rounded(images: Tensor) -> Tensor:
    """The images as an 8-bit file would hold them; PNG keeps exactly these."""
    return (images.clamp(0, 1) * LEVELS).round() / LEVELS


def compressed(images: Tensor) -> Tensor | None:
    """The images as a JPEG file of quality 90 would give them back; None where JPEG has no such channels."""
    return JPEG(QUALITY)(images.clamp(0, 1)) if images.shape[1] in (1, 3) else None
