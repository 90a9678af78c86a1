"""A chunk of the data with the model's clean predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ...geometry import Ball
from ...geometry.region import Region
from ...goals import Goal
from ...goals.classification import ClassGoal
from ...inputs import Inputs
from ...random import Key
from ...rows import take
from .region_limits import RegionLimits


@dataclass(frozen=True)
class CleanChunk:
    """A chunk of the data and its clean predictions; all tensors on the CPU, one row per input.

    Where answers are random, `correct` goes by most of them, and the share that misses is measured twice: `claimed`
    says which of an input and its examples is the worst for the model, `rate` is what then counts.
    """

    first: int  # position of the first row in the data set
    names: list[str]
    images: Tensor  # inputs of the target's kind
    truth: Goal  # a row counts as right while the margin of this goal is not above 0: not to be of the label's class
    from_data: bool  # else the truth is the model's own prediction
    prediction: Mapping[str, Tensor]  # what the task reads of the answers: columns (B,) by name
    finite: Tensor  # bool: every answer is a number
    correct: Tensor  # bool
    claimed: Tensor  # share of answers that miss the truth or reject the input
    rate: Tensor  # the same of other answers; 0 or 1 unless answers are random
    rejected: Tensor  # share of answers that reject the input
    aim: Goal | None = None  # what the attacker wants; None: only that the truth is missed
    context: Any = None  # what lies beside the inputs
    limits: RegionLimits = field(default_factory=RegionLimits)  # mask and radii with a row for each input
    details: tuple[Any, ...] = ()  # what a report needs of each answer beside the columns; empty: nothing

    def __len__(self) -> int:
        return len(self.images)

    @property
    def labels(self) -> Tensor | None:
        """The true classes (B,); None where the task has none."""
        return self.truth.classes if isinstance(self.truth, ClassGoal) else None

    @property
    def aims(self) -> Tensor | None:
        """The target classes (B,) of a targeted goal; None for an untargeted one."""
        return self.aim.classes if isinstance(self.aim, ClassGoal) else None

    def goal(self, rows: Tensor | slice = slice(None)) -> Goal:
        """Return the attacker's goal on the rows; on all where none are named."""
        return take(self.truth if self.aim is None else self.aim, rows)

    def truth_of(self, rows: Tensor) -> Goal:
        """Return the goal that is met where the model is wrong, on the rows."""
        return take(self.truth, rows)

    def context_of(self, rows: Tensor | slice) -> Any:
        """Return the context of these rows; None where there is none."""
        return None if self.context is None else take(self.context, rows)

    def limits_of(self, rows: Tensor) -> RegionLimits:
        """Return mask and radii of the rows."""
        return take(self.limits, rows)

    def region(self, rows: Tensor, ball: Ball, inputs: Inputs) -> Region:
        """Return the region of the rows (R,), in the precision of the audit's own predictions."""
        limits = self.limits_of(rows)
        return Region.around(self.images[rows].float(), ball, inputs, mask=limits.mask, eps=limits.eps)

    def key(self, rows: Tensor, seed: int, draw_offset: int) -> Key:
        """Return the key of the audit's own draws on the rows, at one offset."""
        return Key(self.first + rows, seed).reseeded(draw_offset)
