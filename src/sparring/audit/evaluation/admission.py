"""Checks of the clean images before the first attack: data that cannot be audited is refused here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...engine import check_images
from ...engine.answers import Answers, answers_agree, numbers_of
from ...errors import GoalError, InputError, SparringError, TargetError
from ...goals import ClassifyAs, Goal, Misclassify, least_likely
from ...random import Key
from ...rows import take, to
from ...targets import Target, check_context, check_task
from ...tasks import Classification, Task
from ...zoo import Chunk, DataSource
from ..observer import AuditObserver, CleanCounts
from ..plan import AuditPlan
from .batches import limit_chunks
from .clean_chunk import CleanChunk
from .data_goal import goal_words
from .prediction_columns import PredictionColumn, prediction_columns
from .predictions import CPU, DRAW_OFFSET, Prediction, aggregate, predict, predict_repeatedly
from .region_limits import RegionLimits

FIRST = 16  # inputs that are checked before anything else


def task_of(target: Target[Any]) -> Task:
    """Return the target's task; TargetError where it has none, since its outputs could not be interpreted."""
    if target.task is None:
        raise TargetError(
            f"{target.name} has no task, so that an audit cannot tell what its answers mean; give it one: "
            "Model(module, Verification()), Detection(), Segmentation() or a task of your own, or Classifier(module)"
        )
    return target.task


class Admission:
    """Admits chunks one by one; the first one fixes the inputs' shape and what is predicted of them.

    `classes` is the number of classes of a classifier, and None for other tasks; `columns` are those of the prediction.
    """

    def __init__(self, target: Target[Any], plan: AuditPlan, limits: RegionLimits | None = None) -> None:
        self.target, self.plan, self.limits = target, plan, limits or RegionLimits()
        self.task = task_of(target)
        self.shape: tuple[int, ...] = ()
        self.answers: Answers = {}  # on the first inputs
        self.classes: int | None = None
        self.columns: tuple[PredictionColumn, ...] = ()

    @property
    def classifies(self) -> bool:
        return isinstance(self.task, Classification)

    def check_first(self, source: DataSource) -> CleanChunk:
        """Check the first inputs only; as many, whatever the batch size."""
        for chunk in limit_chunks(source, FIRST, self.plan.limit):
            return self.admit(chunk)
        raise InputError(f"{source.name} holds no images; an audit needs at least one")

    def check_all(
        self, source: DataSource, observer: AuditObserver, checked: Callable[[Chunk], None] = lambda _: None
    ) -> CleanCounts:
        """Check every chunk, hand it to `checked`, report the counts to the observer, and return them."""
        counts = CleanCounts(total=source.candidates)
        for chunk in limit_chunks(source, self.plan.batch_size, self.plan.limit):
            clean = self.admit(chunk)
            checked(chunk)
            known, right = (len(clean), int(clean.correct.sum())) if clean.from_data else (0, 0)
            counts = replace(
                counts, seen=counts.seen + len(clean), labelled=counts.labelled + known, correct=counts.correct + right
            )
            observer.checking_data(counts)
        if not counts.seen:
            raise InputError(f"{source.name} holds no images; an audit needs at least one")
        self.limits.check_count(counts.seen, exact=self.plan.limit is None)
        observer.checked_data(counts)
        return counts

    def admit(self, chunk: Chunk) -> CleanChunk:
        """Predict the clean chunk, or raise why it cannot be audited."""
        labels = chunk.labels if self.plan.labels == "data" else None
        inputs, count = self.target.inputs, len(chunk.images)
        if self.classifies and chunk.goal is not None:
            raise GoalError(
                f"batch of {chunk.names[0]!r} has a goal, and a classifier's batches are (images, labels); what is "
                "wanted of all images is said with goal='misclassify' or goal='least-likely'"
            )
        any_class = Misclassify(torch.zeros(count, dtype=torch.long))
        goal = any_class if self.classifies else self._data_goal(chunk)
        try:
            check_images(chunk.images, goal, inputs)
            check_task(self.target, goal)
            check_context(self.target, chunk.context, count)
        except SparringError as error:
            raise type(error)(f"batch of {chunk.names[0]!r} (image {chunk.first} and on): {error}") from error
        if self.shape and tuple(chunk.images.shape[1:]) != self.shape:
            raise InputError(
                f"image {chunk.names[0]!r} has shape {tuple(chunk.images.shape[1:])}, and those before it "
                f"{self.shape}; give all images one size"
            )
        if not self.shape:
            self._settle(chunk, goal)
        if labels is not None and self.classifies:
            self._check_labels(labels, chunk)
        return self._seen(chunk, None if self.classifies else goal, labels)

    def _data_goal(self, chunk: Chunk) -> Goal:
        """Return the goal of a batch of a task that is no classification; all batches must have the same kind."""
        goal, task = chunk.goal, self.task.name
        if goal is None:
            what = "labels" if chunk.labels is not None else "no goal"
            raise GoalError(
                f"batch of {chunk.names[0]!r} has {what}; the data of {task} is batches of (inputs, goal), with a "
                "goal of a row for each input, as Dodge(template, 0.8), Vanish(boxes) or MisclassifyPixels(labels)"
            )
        words = goal_words(goal)
        if words != self.plan.goal:
            raise GoalError(
                f"batch of {chunk.names[0]!r} has the goal {words}, and those before it {self.plan.goal}; audit one "
                "goal at a time"
            )
        return to(goal, CPU)

    def _settle(self, chunk: Chunk, goal: Goal) -> None:
        images, rows, inputs = chunk.images[:FIRST], slice(0, FIRST), self.target.inputs
        low, high = (torch.as_tensor(bound) for bound in inputs.range_like(images))
        for threat in self.plan.threats:
            for ball in threat.balls():
                ball.with_channel_axis(inputs.channel_axis).check(images, float(low.amin()), float(high.amax()))
        key = Key(torch.arange(len(images)), self.plan.seed).reseeded(DRAW_OFFSET)
        seen = predict(self.target, images, self.plan.batch_size, key, take(chunk.context, rows))
        self.target.check(seen.answer)
        again = predict(self.target, images, self.plan.batch_size, key, take(chunk.context, rows))
        answers = numbers_of(seen.answer)
        self.answers = answers if answers_agree(answers, numbers_of(again.answer)) else {}
        first = take(goal, rows)
        first.check(seen.outputs, first)
        if self.classifies:
            self.classes = seen.outputs.shape[1]
            if self.plan.goal != "misclassify" and self.classes < 3:
                raise GoalError(
                    f"goal {self.plan.goal!r} of a model with {self.classes} classes is the goal misclassify; ask for "
                    "that"
                )
        self.columns = prediction_columns(self.task, seen.columns(self.task, first))
        self.shape = tuple(images.shape[1:])

    def _check_labels(self, labels: Tensor, chunk: Chunk) -> None:
        assert self.classes is not None
        wrong = ((labels < 0) | (labels >= self.classes)).nonzero()
        if len(wrong):
            row = int(wrong[0])
            raise InputError(
                f"the label of {chunk.names[row]!r} (image {chunk.first + row}) is {int(labels[row])}, and the model "
                f"has {self.classes} classes (0 to {self.classes - 1})"
            )

    def _seen(self, chunk: Chunk, goal: Goal | None, labels: Tensor | None) -> CleanChunk:
        """Predict the chunk; `goal` is the data's own, None of a classifier, whose truth are labels."""
        images, batch_size = chunk.images.detach().cpu(), self.plan.batch_size
        context = to(chunk.context, CPU)
        key = Key(chunk.first + torch.arange(len(images)), self.plan.seed)
        seen = predict_repeatedly(self.target, images, batch_size, key.reseeded(DRAW_OFFSET), context)
        if goal is not None:
            self._check_goal(seen[0], goal, chunk)
        truth = Misclassify(own_classes(seen) if labels is None else labels.cpu().long()) if goal is None else goal
        first = aggregate(self.target, seen, truth, truth)
        again = first
        if self.target.stochastic:
            looks = predict_repeatedly(self.target, images, batch_size, key.reseeded(DRAW_OFFSET + 1), context)
            again = aggregate(self.target, looks, truth, truth)
        least = self.plan.goal == "least-likely"
        return CleanChunk(
            first=chunk.first,
            names=list(chunk.names),
            images=images,
            truth=truth,
            from_data=goal is not None or labels is not None,
            prediction=first.prediction,
            finite=first.finite,
            correct=first.missed <= 0.5,
            claimed=first.missed,
            rate=again.missed,
            rejected=again.rejected,
            aim=ClassifyAs(least_likely(seen[0].outputs)) if least else None,
            context=context,
            limits=self.limits.rows(chunk.first, len(images)),
            details=first.details,
        )

    def _check_goal(self, seen: Prediction, goal: Goal, chunk: Chunk) -> None:
        """Raise, naming the batch, where the goal cannot be judged on the target's outputs."""
        try:
            goal.check(seen.outputs, goal)
        except SparringError as error:
            raise type(error)(f"batch of {chunk.names[0]!r} (input {chunk.first} and on): {error}") from error


def own_classes(seen: list[Prediction]) -> Tensor:
    """(B,) the class that most of several answers give."""
    return torch.stack([one.predicted for one in seen]).mode(0).values
