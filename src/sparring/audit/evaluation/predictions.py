"""The audit's own predictions: of the unmodified target, in float32, apart from the attacks' ledger.

A stochastic target is asked CONFIRMATION_SAMPLES times, each time with new draws; what counts is the share of these
answers in which the attacker has won.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...errors import out_of_memory
from ...geometry import Ball
from ...goals import DetectorOutputs, Goal, Misclassify
from ...random import Key
from ...targets import JPEG, Target, answered

LEVELS = 255
TOLERANCE = 1e-6
CONFIRMATION_SAMPLES = 20
QUALITY = 90
DRAW_OFFSET = 1 << 42  # where the audit's own draws begin; the engine's are numbered below


class Prediction(NamedTuple):
    """What the target predicts for B images, everything on the CPU."""

    outputs: Tensor  # (B, K) float32
    predicted: Tensor  # (B,) int64
    confidence: Tensor  # (B,) softmax probability of the prediction; 0 where the output is not finite
    finite: Tensor  # (B,) bool
    alarm: Tensor | None = None  # (B,) above 0 where a detector rejects; None: there is none

    @property
    def answer(self) -> Any:
        """The outputs as the target's goals read them."""
        return self.outputs if self.alarm is None else DetectorOutputs(self.outputs, self.alarm)

    @property
    def rejected(self) -> Tensor:
        """(B,) bool"""
        return torch.zeros_like(self.finite) if self.alarm is None else self.alarm > 0


class AggregatedPrediction(NamedTuple):
    """Several answers to each of B images, aggregated; everything on the CPU."""

    rate: Tensor  # (B,) share of the answers in which the attacker has won
    missed: Tensor  # (B,) share of the answers that another class leads, or that are rejected
    rejected: Tensor  # (B,) share of the answers that are rejected
    predicted: Tensor  # (B,) what is predicted most often
    confidence: Tensor  # (B,) mean over the answers
    finite: Tensor  # (B,) bool: every answer


def predict(target: Target[Any], images: Tensor, batch_size: int, key: Key | None = None) -> Prediction:
    """Predict images (B, C, H, W), `batch_size` at a time and half as many where memory runs out.

    `key` (one id per image) is what a target with randomness draws from.
    """
    target, start, parts = target.confirming_target, 0, []
    with target.frozen(), torch.no_grad():
        while start < len(images):
            rows = slice(start, min(start + batch_size, len(images)))
            try:
                parts.append(
                    _predict_batch(
                        target, images[rows], None if key is None else replace(key, indices=key.indices[rows])
                    )
                )
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
    return Prediction(outputs, predicted, torch.where(finite, confidence, 0.0), finite, alarm)


def _predict_batch(target: Target[Any], images: Tensor, key: Key | None) -> tuple[Tensor, Tensor | None]:
    if key is not None:
        key = replace(key, indices=key.indices.to(target.device))
    answer = answered(target, images.float().to(target.device), key)
    if isinstance(answer, DetectorOutputs):
        return answer.outputs.float().cpu(), answer.alarm.float().cpu()
    return answer.float().cpu(), None


def goal_met(target: Target[Any], seen: Prediction, goal: Goal) -> Tensor:
    """(B,) bool: the goal is met, by the rule that the attacks were measured with."""
    return (target.confirming_target.adapt_goal(goal)(seen.answer).margin > 0) & seen.finite


def misclassified(seen: Prediction, labels: Tensor) -> Tensor:
    """(B,) bool: another class leads the label, the answer is not finite, or the image is rejected."""
    return (Misclassify(labels)(seen.outputs).margin > 0) | ~seen.finite | seen.rejected


def predict_repeatedly(target: Target[Any], images: Tensor, batch_size: int, key: Key) -> list[Prediction]:
    """Predict each image CONFIRMATION_SAMPLES times, or once where the target is deterministic; `key` must be fresh."""
    if not target.confirming_target.stochastic:
        return [predict(target, images, batch_size)]
    again = images.repeat(CONFIRMATION_SAMPLES, *[1] * (images.ndim - 1))
    drawn = replace(key, indices=torch.cat([key.at(which).indices for which in range(CONFIRMATION_SAMPLES)]))
    whole = predict(target, again, batch_size, drawn)
    return [Prediction(*parts) for parts in zip(*(split_samples(field, len(images)) for field in whole), strict=True)]


def split_samples(field: Tensor | None, size: int) -> list[Tensor | None]:
    """Split one field into CONFIRMATION_SAMPLES parts."""
    return [None] * CONFIRMATION_SAMPLES if field is None else list(torch.split(field, size))


def aggregate(target: Target[Any], seen: list[Prediction], goal: Goal, labels: Tensor) -> AggregatedPrediction:
    """Aggregate the answers: shares in which the attacker's goal is met and in which the label is missed."""

    def share(values: list[Tensor]) -> Tensor:
        return torch.stack(values).float().mean(0)

    return AggregatedPrediction(
        rate=share([goal_met(target, one, goal) for one in seen]),
        missed=share([misclassified(one, labels) for one in seen]),
        rejected=share([one.rejected for one in seen]),
        predicted=torch.stack([one.predicted for one in seen]).mode(0).values,
        confidence=share([one.confidence for one in seen]),
        finite=torch.stack([one.finite for one in seen]).all(0),
    )


def is_feasible(ball: Ball, examples: Tensor, originals: Tensor) -> Tensor:
    """(B,) bool: within the ball and the valid range, rounding apart."""
    flat = examples.flatten(1)
    valid = (flat.amin(1) >= -TOLERANCE) & (flat.amax(1) <= 1 + TOLERANCE)
    return valid & (ball.norm(examples - originals) <= ball.eps + TOLERANCE * max(1.0, ball.eps))


def round_to_uint8(images: Tensor) -> Tensor:
    """Round the images to 8 bits, as a PNG file holds them."""
    return (images.clamp(0, 1) * LEVELS).round() / LEVELS


def compress_jpeg(images: Tensor) -> Tensor | None:
    """Compress the images as JPEG of quality 90 and decode them; None where JPEG has no such channels."""
    return JPEG(QUALITY)(images.clamp(0, 1)) if images.shape[1] in (1, 3) else None
