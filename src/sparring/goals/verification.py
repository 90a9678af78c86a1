"""The goals of attacks on verification, of faces, voices or any other embedding."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from jaxtyping import Float
from torch import Tensor

from ..error_rates import ScoreMap
from ..errors import GoalError, InputError
from ..shapes import FloatPerRow
from ..tasks import Task, Verification, Words, similarity
from ..tasks.verification import check_metric
from .climbs import Climb, PowerMargin
from .goal import Goal
from .terms import Terms

Embeddings = Float[Tensor, "batch dimensions"]
Similarities = Float[Tensor, "batch templates"]
Galleries = Float[Tensor, "batch templates dimensions"]


class VerificationGoal(Goal):
    """Base class of goals on the similarity of embeddings (B, D) with templates; `threshold` and above is a match."""

    task: ClassVar[type[Task] | None] = Verification
    graded: ClassVar[bool] = True
    template_axes: ClassVar[int]
    threshold: float
    metric: str

    def __post_init__(self) -> None:
        check_metric(self.metric)

    sign: ClassVar[float]  # +1: similarity is what the attacker wants, -1: what he does not

    @abstractmethod
    def similarities(self, outputs: Embeddings) -> Similarities:
        """Return the similarity (B, N) of the embeddings (B, D) with each template of their row."""

    def similarity(self, outputs: Embeddings) -> FloatPerRow:
        """Return the largest similarity (B,) of the embeddings (B, D) with the templates."""
        return self.similarities(outputs).amax(1)

    def terms(self, outputs: Embeddings) -> Terms:
        """Return threshold - similarity, or similarity - threshold, (B, N), one of which suffices."""
        return Terms(self.sign * (self.similarities(outputs) - self.threshold))

    @property
    @abstractmethod
    def templates(self) -> Tensor:
        """The templates, (B, D) or (B, N, D)."""

    def __len__(self) -> int:
        return len(self.templates)

    def check_task(self, task: Task) -> None:
        """Raise GoalError where the target compares embeddings by another metric than the goal."""
        if isinstance(task, Verification) and task.metric != self.metric:
            raise GoalError(
                f"{type(self).__name__} compares by metric={self.metric!r}, and the target by {task.metric!r}; pass "
                "the same metric= to both, and a threshold of that"
            )

    def check(self, outputs: Any, all_rows: Self) -> None:
        """Raise GoalError where the templates or the threshold do not fit, InputError for NaN or infinity."""
        axes = "(B, D)" if self.template_axes == 2 else "(B, N, D)"
        templates = all_rows.templates
        if templates.ndim != self.template_axes or not templates.is_floating_point() or templates.shape[1] == 0:
            got = f"{templates.dtype} {tuple(templates.shape)}"
            raise GoalError(f"the templates of {type(self).__name__} are real numbers {axes}; got {got}")
        theirs, own = outputs.shape[-1], self.templates.shape[-1]
        if theirs != own:
            raise GoalError(f"the model gives embeddings of {theirs} dimensions, and the templates have {own}")
        cosine = self.metric == "cosine"
        low, high, kind = (-1.0, 1.0, "cosine") if cosine else (-math.inf, 0.0, "minus a distance")
        self._check_threshold(low, high, kind)
        if not bool(all_rows.templates.isfinite().all()):
            raise InputError("the templates hold NaN or infinity; embed the enrolled pictures again")
        if cosine and not bool(templates.square().sum(-1).gt(0).all()):
            raise InputError("a template is zero, and no cosine with it is defined; embed the enrolled pictures again")

    def _check_threshold(self, low: float, high: float, kind: str) -> None:
        if not isinstance(self.threshold, int | float) or not low < self.threshold < high:
            raise GoalError(
                f"threshold={self.threshold!r:.80} is no {kind}; pass a number between {low:g} and {high:g}"
            )


@dataclass(frozen=True)
class Dodge(VerificationGoal):
    """The goal not to be taken for the person of the template: the similarity falls below the threshold.

    Args:
        template: (B, D), the embedding of the enrolled picture.
        threshold: the similarity from which two pictures are taken for one person: a cosine, or minus a distance.
        metric: "cosine" or "euclidean", as the target's task has it.
        loss: what attacks ascend that name no loss of their own.
    """

    template: Embeddings
    threshold: float
    loss: Climb = field(default_factory=PowerMargin)
    metric: str = "cosine"

    template_axes: ClassVar[int] = 2
    sign: ClassVar[float] = -1.0
    words: ClassVar[Words] = Words("True accept rate under attack", "True accept rate", "accepted", "rejected")

    @property
    def templates(self) -> Tensor:
        """The templates (B, D)."""
        return self.template

    def similarities(self, outputs: Embeddings) -> Similarities:
        """Return the similarity (B, 1) of the embeddings (B, D) with the template."""
        return similarity(outputs, self.template, self.metric)[:, None]


@dataclass(frozen=True)
class Impersonate(VerificationGoal):
    """The goal to be taken for some person of a gallery: one similarity exceeds the threshold.

    Args:
        gallery: (B, N, D), the templates of N persons for each input; one person is N = 1.
        threshold: the similarity from which two pictures are taken for one person: a cosine, or minus a distance.
        metric: "cosine" or "euclidean", as the target's task has it.
        loss: what attacks ascend that name no loss of their own.
    """

    gallery: Galleries
    threshold: float
    loss: Climb = field(default_factory=PowerMargin)
    metric: str = "cosine"

    template_axes: ClassVar[int] = 3
    sign: ClassVar[float] = 1.0
    words: ClassVar[Words] = Words("True reject rate under attack", "True reject rate", "rejected", "accepted")

    @property
    def templates(self) -> Tensor:
        """The templates (B, N, D)."""
        return self.gallery

    def similarities(self, outputs: Embeddings) -> Similarities:
        """Return the similarity (B, N) of the embeddings (B, D) with each person of the gallery."""
        return similarity(outputs[:, None], self.gallery, self.metric)


@dataclass(frozen=True)
class PublishedScore(Goal):
    """The goal of `goal` where the verifier says no more than a score from 0 to 100, rounded.

        margin  published score of the similarity - score of the threshold, with the sign of the goal

    A score that is rounded to that of the threshold is a tie, and a tie is no success.

    Args:
        goal: `Dodge` or `Impersonate`.
        scores: the map of similarities to scores.
        decimals: of the score; 0: whole numbers.
    """

    goal: VerificationGoal
    scores: ScoreMap
    decimals: int = 0

    task: ClassVar[type[Task] | None] = Verification

    def __post_init__(self) -> None:
        object.__setattr__(self, "loss", self.goal.loss)

    def __len__(self) -> int:
        return len(self.goal)

    def check(self, outputs: Any, all_rows: Self) -> None:
        """Raise what the inner goal raises."""
        self.goal.check(outputs, all_rows.goal)

    def terms(self, outputs: Embeddings) -> Terms:
        """Return the differences of scores (B, N)."""
        similarities = self.goal.similarities(outputs)
        needed = self.scores(similarities.new_tensor(self.goal.threshold))
        return Terms(self.goal.sign * (self.scores(similarities).round(decimals=self.decimals) - needed))
