"""Changing and fusing outputs with an alarm, a penalty, or separate outputs for gradients (`Decoupled`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..access import Decoupled
from ..goals import DetectorOutputs, RegularizedOutputs
from ..tasks import Task, without_nan


def change_outputs(answer: Any, change: Callable[[Any], Any]) -> Any:
    """Return the answer with the outputs of its task changed, wherever they are in it."""
    if isinstance(answer, Decoupled):
        judged, climbed = answer.judged_outputs, answer.gradient_outputs
        return Decoupled(change_outputs(judged, change), change_outputs(climbed, change))
    if isinstance(answer, DetectorOutputs | RegularizedOutputs):
        return replace(answer, outputs=change_outputs(answer.outputs, change))
    return change(answer)


def with_alarm(answer: Any, alarm: Tensor) -> Any:
    """Return the answer with an alarm (B,) added, the higher of the two where it has one already."""
    if isinstance(answer, Decoupled):
        judged = with_alarm(answer.judged_outputs, alarm.detach())
        return Decoupled(judged, with_alarm(answer.gradient_outputs, alarm))
    if isinstance(answer, DetectorOutputs):
        return replace(answer, alarm=torch.maximum(answer.alarm, alarm))
    return DetectorOutputs(answer, alarm)


def fuse_answers(answers: Sequence[Any], task: Task, how: str | None) -> Any:
    """Return several answers as one: outputs fused by the task, alarms in their mean."""
    first = answers[0]
    if isinstance(first, Decoupled):
        judged = fuse_answers([one.judged_outputs for one in answers], task, how)
        return Decoupled(judged, fuse_answers([one.gradient_outputs for one in answers], task, how))
    if isinstance(first, DetectorOutputs):
        outputs = fuse_answers([one.outputs for one in answers], task, how)
        return DetectorOutputs(outputs, torch.stack([one.alarm for one in answers]).mean(0))
    if isinstance(first, RegularizedOutputs):
        outputs = fuse_answers([one.outputs for one in answers], task, how)
        return RegularizedOutputs(outputs, torch.stack([one.penalty for one in answers]).mean(0))
    return task.fuse(answers, how)


def valid_rows(answer: Any, task: Task | None) -> Tensor:
    """Return (B,) bool: the rows that are an answer, by `Task.valid`, and whose alarm is finite.

    The one rule of what counts as an answer: a row that is none is never robust and never a success. Where the task is
    not known, a row without NaN is one.
    """
    if isinstance(answer, Decoupled):
        return valid_rows(answer.judged_outputs, task)
    if isinstance(answer, DetectorOutputs):
        return valid_rows(answer.outputs, task) & answer.alarm.isfinite()
    if isinstance(answer, RegularizedOutputs):
        return valid_rows(answer.outputs, task)
    return without_nan(answer) if task is None else task.valid(answer)
