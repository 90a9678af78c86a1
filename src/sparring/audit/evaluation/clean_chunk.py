"""A chunk of the data with the model's clean predictions."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ...goals import ClassifyAs, Misclassify
from ...goals.classification import ClassGoal
from ...random import Key


@dataclass(frozen=True)
class CleanChunk:
    """A chunk of the data and its clean predictions; all tensors on the CPU, one row per image.

    Where answers are random, `correct` goes by most of them, and the share that misses is measured twice: `claimed`
    says which of an image and its examples is the worst for the model, `rate` is what then counts.
    """

    first: int  # position of the first row in the data set
    names: list[str]
    images: Tensor
    labels: Tensor
    from_data: bool  # else the labels are the model's own predictions
    predicted: Tensor
    confidence: Tensor
    correct: Tensor  # bool
    claimed: Tensor  # share of answers that miss the label or reject the image
    rate: Tensor  # the same of other answers; 0 or 1 unless answers are random
    rejected: Tensor  # share of answers that reject the image
    aims: Tensor | None = None  # (B,) the class that the attacker wants; None: any but the label

    def __len__(self) -> int:
        return len(self.images)

    def goal(self, rows: Tensor | None = None) -> ClassGoal:
        """Return the attacker's goal on the rows; on all where none are named."""
        classes, kind = (self.labels, Misclassify) if self.aims is None else (self.aims, ClassifyAs)
        made: ClassGoal = kind(classes if rows is None else classes[rows])
        return made

    def key(self, rows: Tensor, seed: int, draw_offset: int) -> Key:
        """Return the key of the audit's own draws on the rows, at one offset."""
        return Key(self.first + rows, seed).reseeded(draw_offset)
