"""The audit's own predictions: of the unmodified target, in float32, apart from the attacks' ledger.

A stochastic target is asked CONFIRMATION_SAMPLES times, each time with new draws; what counts is the share of these
answers in which the attacker has won.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...batching import iterate_batches
from ...errors import TargetError
from ...goals import DetectorOutputs, Goal
from ...inputs import Images, Inputs
from ...random import Key
from ...rows import floats_to, join, take, to
from ...targets import JPEG, Bytes, Target, answered, valid_rows
from ...tasks import Task

CONFIRMATION_SAMPLES = 20
QUALITY = 90
DRAW_OFFSET = 1 << 42  # where the audit's own draws begin; the engine's are numbered below
CPU = torch.device("cpu")


class Prediction(NamedTuple):
    """What the target predicts for B inputs, everything on the CPU."""

    outputs: Any  # of the target's task, in float32: logits (B, K), embeddings (B, D), ...
    finite: Tensor  # (B,) bool: the rows that are an answer, as `valid_rows` has it
    alarm: Tensor | None = None  # (B,) above 0 where a detector rejects; None: there is none

    @property
    def answer(self) -> Any:
        """The outputs as the target's goals read them."""
        return self.outputs if self.alarm is None else DetectorOutputs(self.outputs, self.alarm)

    @property
    def rejected(self) -> Tensor:
        """Which inputs the detector rejects, (B,) bool; False everywhere where there is no detector."""
        return torch.zeros_like(self.finite) if self.alarm is None else self.alarm > 0

    @property
    def readable(self) -> Any:
        """The outputs with 0 in the place of rows that are not finite, where they are a tensor."""
        if not isinstance(self.outputs, Tensor):
            return self.outputs
        return torch.where(self.finite.view(-1, *[1] * (self.outputs.ndim - 1)), self.outputs, 0.0)

    @property
    def predicted(self) -> Tensor:
        """(B,) int64, the class of a classifier."""
        classes: Tensor = self.readable.argmax(1)
        return classes

    @property
    def confidence(self) -> Tensor:
        """(B,) the softmax probability of a classifier's class; 0 where the output is not finite."""
        return torch.where(self.finite, self.readable.softmax(1).amax(1), 0.0)

    def columns(self, task: Task, truth: Goal) -> dict[str, Tensor]:
        """Return what the task reads of the outputs, columns (B,) by name.

        Raises: TargetError where the task gives something else.
        """
        found = task.prediction(self.readable, truth)
        for name, column in found.items():
            if not isinstance(name, str) or not isinstance(column, Tensor) or column.shape != self.finite.shape:
                got = tuple(column.shape) if isinstance(column, Tensor) else type(column).__name__
                raise TargetError(
                    f"{type(task).__name__}.prediction gives {name!r}: {got} for {len(self.finite)} inputs; return "
                    "tensors (B,) by name"
                )
        return found


class AggregatedPrediction(NamedTuple):
    """Several answers to each of B inputs, aggregated; everything on the CPU."""

    rate: Tensor  # (B,) share of the answers in which the attacker has won
    missed: Tensor  # (B,) share of the answers that miss the truth, or that are rejected
    rejected: Tensor  # (B,) share of the answers that are rejected
    prediction: dict[str, Tensor]  # columns (B,): of numbers the mean, else what is said most often
    finite: Tensor  # (B,) bool: every answer
    margin: Tensor  # (B,) of the attacker's goal, in the mean
    details: tuple[Any, ...]  # of the first answer, B of them or none: what a report needs beside the columns


def predict(
    target: Target[Any], images: Tensor, batch_size: int, key: Key | None = None, context: Any = None
) -> Prediction:
    """Predict inputs (B, ...), `batch_size` at a time and half as many where memory runs out.

    `key` (one id per input) is what a target with randomness draws from; `context` lies beside the inputs.
    """
    target = target.confirming_target

    def ask(rows: Tensor) -> tuple[Any, Tensor | None]:
        drawn = None if key is None else replace(key, indices=key.indices[rows])
        return _predict_batch(target, images[rows], drawn, take(context, rows))

    with target.frozen():
        parts = list(iterate_batches(ask, torch.arange(len(images)), batch_size=batch_size))
    alarms = [alarm for _, alarm in parts if alarm is not None]
    outputs, alarm = join([part for part, _ in parts]), torch.cat(alarms) if alarms else None
    answer = outputs if alarm is None else DetectorOutputs(outputs, alarm)
    return Prediction(outputs, valid_rows(answer, target.task), alarm)


def _predict_batch(target: Target[Any], images: Tensor, key: Key | None, context: Any) -> tuple[Any, Tensor | None]:
    if key is not None:
        key = replace(key, indices=key.indices.to(target.device))
    answer = answered(target, images.float().to(target.device), key, to(context, target.device))
    if isinstance(answer, DetectorOutputs):
        return floats_to(to(answer.outputs, CPU), torch.float32), answer.alarm.float().cpu()
    return floats_to(to(answer, CPU), torch.float32), None


def goal_met(target: Target[Any], seen: Prediction, goal: Goal) -> Tensor:
    """(B,) bool: the goal is met, by the rule that the attacks were measured with."""
    return (goal_margin(target, seen, goal) > 0) & seen.finite


def goal_margin(target: Target[Any], seen: Prediction, goal: Goal) -> Tensor:
    """(B,) the margin of the goal, by the rule that the attacks were measured with."""
    return target.confirming_target.adapt_goal(goal).margin(seen.answer)


def truth_missed(seen: Prediction, truth: Goal) -> Tensor:
    """(B,) bool: another class leads the label (the truth's margin is above 0), or there is no such answer at all.

    That is the case where the answer is not finite or the input is rejected.
    """
    return (truth.margin(seen.outputs) > 0) | ~seen.finite | seen.rejected


def predict_repeatedly(
    target: Target[Any], images: Tensor, batch_size: int, key: Key, context: Any = None
) -> list[Prediction]:
    """Predict each input CONFIRMATION_SAMPLES times, or once where the target is deterministic; `key` must be fresh."""
    if not target.confirming_target.stochastic:
        return [predict(target, images, batch_size, context=context)]
    count = len(images)
    again = images.repeat(CONFIRMATION_SAMPLES, *[1] * (images.ndim - 1))
    drawn = replace(key, indices=torch.cat([key.at(which).indices for which in range(CONFIRMATION_SAMPLES)]))
    beside = take(context, torch.arange(count).repeat(CONFIRMATION_SAMPLES))
    whole = predict(target, again, batch_size, drawn, beside)
    parts = [slice(which * count, (which + 1) * count) for which in range(CONFIRMATION_SAMPLES)]
    return [
        Prediction(take(whole.outputs, part), whole.finite[part], None if whole.alarm is None else whole.alarm[part])
        for part in parts
    ]


def aggregate(target: Target[Any], seen: list[Prediction], goal: Goal, truth: Goal) -> AggregatedPrediction:
    """Aggregate the answers: shares in which the attacker's goal is met and in which the truth is missed."""

    def share(values: list[Tensor]) -> Tensor:
        return torch.stack(values).float().mean(0)

    assert target.task is not None
    read = [one.columns(target.task, truth) for one in seen]
    return AggregatedPrediction(
        rate=share([goal_met(target, one, goal) for one in seen]),
        missed=share([truth_missed(one, truth) for one in seen]),
        rejected=share([one.rejected for one in seen]),
        prediction={name: typical([columns[name] for columns in read]) for name in read[0]},
        finite=torch.stack([one.finite for one in seen]).all(0),
        margin=torch.stack([goal_margin(target, one, goal) for one in seen]).float().mean(0),
        details=tuple(target.task.details(seen[0].readable, truth) or ()),
    )


def typical(answers: Sequence[Tensor]) -> Tensor:
    """(B,) the mean of several answers that are real numbers; of classes, counts and flags the most frequent."""
    values = torch.stack(list(answers))
    if values.is_floating_point():
        return values.mean(0)
    return values.long().mode(0).values.to(values.dtype)


def round_to_uint8(images: Tensor, inputs: Inputs | None = None) -> Tensor:
    """Round the images to 8 bits of their range ([0, 1] by default), as a PNG file holds them."""
    low, width = image_range(inputs)
    if (low, width) == (0.0, 1.0):
        return Bytes()(images.clamp(0, 1))
    return low + width * round_to_uint8((images - low) / width)


def compress_jpeg(images: Tensor, inputs: Inputs | None = None) -> Tensor | None:
    """Compress the images as JPEG of quality 90 and decode them; None where JPEG has no such channels."""
    low, width = image_range(inputs)
    if images.shape[1] not in (1, 3):
        return None
    if (low, width) == (0.0, 1.0):
        return JPEG(QUALITY)(images.clamp(0, 1))
    return low + width * JPEG(QUALITY)(((images - low) / width).clamp(0, 1))


def image_range(inputs: Inputs | None) -> tuple[float, float]:
    """Return the lowest value of images, and how far the highest lies above it."""
    images = inputs if isinstance(inputs, Images) else Images()
    return images.low, images.high - images.low
