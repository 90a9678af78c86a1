"""The goals of attacks on verification, of faces, voices or any other embedding."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cosine_similarity

from ..errors import GoalError, InputError
from ..shapes import FloatPerRow
from ..tasks import Task, Verification
from .climbs import Climb, PowerMargin
from .goal import Goal
from .terms import Terms

Embeddings = Float[Tensor, "batch dimensions"]
Galleries = Float[Tensor, "batch templates dimensions"]


class VerificationGoal(Goal):
    """Base class of goals on the cosine of embeddings (B, D) with templates; `threshold` and above is a match."""

    task: ClassVar[type[Task] | None] = Verification
    template_axes: ClassVar[int]
    threshold: float

    @abstractmethod
    def similarity(self, outputs: Embeddings) -> FloatPerRow:
        """Return the largest cosine (B,) of the embeddings (B, D) with the templates."""

    @property
    @abstractmethod
    def templates(self) -> Tensor:
        """The templates, (B, D) or (B, N, D)."""

    def __len__(self) -> int:
        return len(self.templates)

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
        if not isinstance(self.threshold, int | float) or not -1 < self.threshold < 1:
            raise GoalError(f"threshold={self.threshold!r:.80} is no cosine; pass a number between -1 and 1")
        if not bool(all_rows.templates.isfinite().all()):
            raise InputError("the templates hold NaN or infinity; embed the enrolled pictures again")
        if not bool(templates.square().sum(-1).gt(0).all()):
            raise InputError("a template is zero, and no cosine with it is defined; embed the enrolled pictures again")


@dataclass(frozen=True)
class Dodge(VerificationGoal):
    """The goal not to be taken for the person of the template: the cosine falls below the threshold.

    Args:
        template: (B, D), the embedding of the enrolled picture.
        threshold: the cosine from which two pictures are taken for one person.
        loss: what attacks ascend that name no loss of their own.
    """

    template: Embeddings
    threshold: float
    loss: Climb = field(default_factory=PowerMargin)

    template_axes: ClassVar[int] = 2

    @property
    def templates(self) -> Tensor:
        """The templates (B, D)."""
        return self.template

    def similarity(self, outputs: Embeddings) -> FloatPerRow:
        """Return the cosine (B,) of the embeddings (B, D) with the template."""
        return cosine_similarity(outputs, self.template, dim=1)

    def terms(self, outputs: Embeddings) -> Terms:
        """Return threshold - cosine (B, 1)."""
        return Terms((self.threshold - self.similarity(outputs))[:, None])


@dataclass(frozen=True)
class Impersonate(VerificationGoal):
    """The goal to be taken for some person of a gallery: one cosine exceeds the threshold.

    Args:
        gallery: (B, N, D), the templates of N persons for each input; one person is N = 1.
        threshold: the cosine from which two pictures are taken for one person.
        loss: what attacks ascend that name no loss of their own.
    """

    gallery: Galleries
    threshold: float
    loss: Climb = field(default_factory=PowerMargin)

    template_axes: ClassVar[int] = 3

    @property
    def templates(self) -> Tensor:
        """The templates (B, N, D)."""
        return self.gallery

    def similarity(self, outputs: Embeddings) -> FloatPerRow:
        """Return the largest cosine (B,) of the embeddings (B, D) with the gallery."""
        return self._cosines(outputs).amax(1)

    def terms(self, outputs: Embeddings) -> Terms:
        """Return cosine - threshold (B, N), one of which suffices."""
        return Terms(self._cosines(outputs) - self.threshold)

    def _cosines(self, outputs: Tensor) -> Tensor:
        cosines: Tensor = cosine_similarity(outputs[:, None], self.gallery, dim=2)
        return cosines
