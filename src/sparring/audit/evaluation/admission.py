"""Admission of the clean images before the first attack: what cannot be audited is refused here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...engine import check_images
from ...errors import GoalError, InputError
from ...goals import Misclassify, least_likely
from ...random import Key
from ...targets import Target
from ...zoo import Chunk
from ..observer import AuditObserver, CleanCounts
from ..plan import AuditPlan
from .batches import DataSource, limit_chunks
from .clean_chunk import CleanChunk
from .predictions import DRAW_OFFSET, aggregate, predict, predict_repeatedly

FIRST = 16  # images that are checked before anything else


class Admission:
    """Admits chunks one by one; the first one fixes the images' shape and the number of classes."""

    def __init__(self, target: Target[Any], plan: AuditPlan) -> None:
        self.target, self.plan = target, plan
        self.shape: tuple[int, ...] = ()
        self.classes = 0

    def check_first(self, source: DataSource) -> CleanChunk:
        """Check the first images only; as many, whatever the batch size."""
        for chunk in limit_chunks(source, FIRST, self.plan.limit):
            return self.admit(chunk)
        raise InputError(f"{source.name} holds no images; an audit needs at least one")

    def check_all(self, source: DataSource, observer: AuditObserver) -> CleanCounts:
        """Check every chunk, report the counts to the observer, and return them."""
        counts = CleanCounts(total=source.candidates)
        for chunk in limit_chunks(source, self.plan.batch_size, self.plan.limit):
            clean = self.admit(chunk)
            known, right = (len(clean), int(clean.correct.sum())) if clean.from_data else (0, 0)
            counts = replace(
                counts, seen=counts.seen + len(clean), labelled=counts.labelled + known, correct=counts.correct + right
            )
            observer.checking_data(counts)
        if not counts.seen:
            raise InputError(f"{source.name} holds no images; an audit needs at least one")
        observer.checked_data(counts)
        return counts

    def admit(self, chunk: Chunk) -> CleanChunk:
        """Predict the clean chunk, or raise why it cannot be audited."""
        labels = chunk.labels if self.plan.labels == "data" else None
        try:
            check_images(chunk.images, Misclassify(torch.zeros(len(chunk.images), dtype=torch.long)))
        except InputError as error:
            raise InputError(f"batch of {chunk.names[0]!r} (image {chunk.first} and on): {error}") from error
        if self.shape and tuple(chunk.images.shape[1:]) != self.shape:
            raise InputError(
                f"image {chunk.names[0]!r} has shape {tuple(chunk.images.shape[1:])}, and those before it "
                f"{self.shape}; give all images one size"
            )
        if not self.shape:
            self._settle(chunk.images[:FIRST])
        if labels is not None:
            self._check_labels(labels, chunk)
        return self._seen(chunk, labels)

    def _settle(self, images: Tensor) -> None:
        for threat in self.plan.threats:
            for ball in threat.balls():
                ball.check(images)
        key = Key(torch.arange(len(images)), self.plan.seed).reseeded(DRAW_OFFSET)
        seen = predict(self.target, images, self.plan.batch_size, key)
        self.target.check(seen.answer)
        any_class = Misclassify(torch.zeros(len(images), dtype=torch.long))
        any_class.check(seen.outputs, any_class)
        self.shape, self.classes = tuple(images.shape[1:]), seen.outputs.shape[1]
        if self.plan.goal != "misclassify" and self.classes < 3:
            raise GoalError(
                f"goal {self.plan.goal!r} of a model with {self.classes} classes is the goal misclassify; ask for that"
            )

    def _check_labels(self, labels: Tensor, chunk: Chunk) -> None:
        wrong = ((labels < 0) | (labels >= self.classes)).nonzero()
        if len(wrong):
            row = int(wrong[0])
            raise InputError(
                f"the label of {chunk.names[row]!r} (image {chunk.first + row}) is {int(labels[row])}, and the model "
                f"has {self.classes} classes (0 to {self.classes - 1})"
            )

    def _seen(self, chunk: Chunk, labels: Tensor | None) -> CleanChunk:
        images, batch_size = chunk.images.detach().cpu(), self.plan.batch_size
        key = Key(chunk.first + torch.arange(len(images)), self.plan.seed)
        seen = predict_repeatedly(self.target, images, batch_size, key.reseeded(DRAW_OFFSET))
        own = torch.stack([one.predicted for one in seen]).mode(0).values
        against = own if labels is None else labels.cpu().long()
        first = aggregate(self.target, seen, Misclassify(against), against)
        again = first
        if self.target.stochastic:
            seen = predict_repeatedly(self.target, images, batch_size, key.reseeded(DRAW_OFFSET + 1))
            again = aggregate(self.target, seen, Misclassify(against), against)
        return CleanChunk(
            first=chunk.first,
            names=list(chunk.names),
            images=images,
            labels=against,
            from_data=labels is not None,
            predicted=first.predicted,
            confidence=first.confidence,
            correct=first.missed <= 0.5,
            claimed=first.missed,
            rate=again.missed,
            rejected=again.rejected,
            aims=None if self.plan.goal == "misclassify" else least_likely(seen[0].outputs),
        )
