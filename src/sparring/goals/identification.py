"""The goals of attacks on 1:N identification: a picture is searched in a gallery of one template for each person."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from ..errors import GoalError
from ..shapes import FloatPerRow, IntPerRow
from ..tasks import Identification, Task, Words, similarity
from .climbs import Climb, PowerMargin
from .terms import Terms
from .verification import Embeddings, Galleries, Similarities, VerificationGoal


class IdentificationGoal(VerificationGoal):
    """Base class of goals on the rank of one person in a gallery (B, N, D).

    `person` (B,) is a place in the gallery. With a `threshold` (open-set identification) nobody below it is found.
    """

    task: ClassVar[type[Task] | None] = Identification
    template_axes: ClassVar[int] = 3
    gallery: Galleries
    person: IntPerRow
    rank: int

    @property
    def templates(self) -> Tensor:
        """The templates (B, N, D)."""
        return self.gallery

    def similarities(self, outputs: Embeddings) -> Similarities:
        """Return the similarity (B, N) of the embeddings (B, D) with each person of the gallery."""
        return similarity(outputs[:, None], self.gallery, self.metric)

    def similarity(self, outputs: Embeddings) -> FloatPerRow:
        """Return the similarity (B,) of the embeddings (B, D) with the person."""
        return self.similarities(outputs).gather(1, self.person[:, None]).squeeze(1)

    def leads(self, outputs: Embeddings) -> tuple[FloatPerRow, Similarities]:
        """Return the similarity with the person (B,), and by how much each other one exceeds it (B, N - 1)."""
        alike = self.similarities(outputs)
        own = alike.gather(1, self.person[:, None])
        places = torch.arange(alike.shape[1] - 1, device=alike.device).expand(len(alike), -1)
        others = alike.gather(1, places + (places >= self.person[:, None]).long())
        return own.squeeze(1), others - own

    def check(self, outputs: Any, all_rows: Self) -> None:
        """Raise GoalError where gallery, person, threshold or rank do not fit, InputError for NaN or infinity."""
        super().check(outputs, all_rows)
        persons, count = all_rows.person, all_rows.gallery.shape[1]
        name = type(self).__name__
        if persons.ndim != 1 or persons.dtype != torch.int64 or len(persons) != len(all_rows.gallery):
            got = f"{persons.dtype} {tuple(persons.shape)}"
            raise GoalError(
                f"the persons of {name} are int64 ({len(all_rows.gallery)},), a place in the gallery each; got {got}"
            )
        if count < 2 or not bool(((persons >= 0) & (persons < count)).all()):
            raise GoalError(
                f"{name} has a gallery of {count} persons and places from {int(persons.min())} to "
                f"{int(persons.max())}; "
                "give two persons at least, and places from 0 on"
            )

    def _check_threshold(self, low: float, high: float, kind: str) -> None:
        if self.threshold is not None:
            super()._check_threshold(low, high, kind)


@dataclass(frozen=True)
class EvadeIdentification(IdentificationGoal):
    """The goal not to be identified: `rank` others are more alike than the person, or it is below the threshold.

    Args:
        gallery: (B, N, D), a template for each of N persons, the same for each input or not.
        person: (B,) int64, who is in the picture, as a place in the gallery.
        threshold: the similarity below which nobody is found (open set); None: somebody always is (closed set).
        rank: how many leading persons are looked at, from 1 to N - 1.
        metric: "cosine" or "euclidean", as the target's task has it.
        loss: what attacks ascend that name no loss of their own.
    """

    gallery: Galleries
    person: IntPerRow
    threshold: float | None = None  # type: ignore[assignment]
    rank: int = 1
    loss: Climb = field(default_factory=PowerMargin)
    metric: str = "cosine"

    sign: ClassVar[float] = -1.0
    words: ClassVar[Words] = Words("Identification rate under attack", "Identification rate", "identified", "missed")

    def terms(self, outputs: Embeddings) -> Terms:
        """Return the terms, one of which suffices: the leads of the others (of the `rank`-th), and of the threshold."""
        own, leads = self.leads(outputs)
        if self.rank > 1:
            leads = leads.topk(self.rank, 1).values[:, -1:]
        return Terms(leads if self.threshold is None else torch.cat((leads, (self.threshold - own)[:, None]), 1))

    def check(self, outputs: Any, all_rows: Self) -> None:
        """Raise GoalError where gallery, person, threshold or rank do not fit, InputError for NaN or infinity."""
        super().check(outputs, all_rows)
        most = all_rows.gallery.shape[1] - 1
        if isinstance(self.rank, bool) or not isinstance(self.rank, int) or not 1 <= self.rank <= most:
            raise GoalError(f"rank={self.rank!r:.40} in a gallery of {most + 1} persons; pass an int from 1 to {most}")


@dataclass(frozen=True)
class IdentifyAs(IdentificationGoal):
    """The goal to be identified as somebody: that person is more alike than all others, and above the threshold.

    Args:
        gallery: (B, N, D), a template for each of N persons, the same for each input or not.
        person: (B,) int64, whom the attacker wants to be taken for, as a place in the gallery.
        threshold: the similarity below which nobody is found (open set); None: somebody always is (closed set).
        metric: "cosine" or "euclidean", as the target's task has it.
        loss: what attacks ascend that name no loss of their own.
    """

    gallery: Galleries
    person: IntPerRow
    threshold: float | None = None  # type: ignore[assignment]
    loss: Climb = field(default_factory=PowerMargin)
    metric: str = "cosine"

    rank: ClassVar[int] = 1  # type: ignore[misc]
    sign: ClassVar[float] = 1.0
    words: ClassVar[Words] = Words(
        "Not taken for the other, under attack",
        "Not taken for the other",
        "not taken for the other",
        "taken for the other",
    )

    def terms(self, outputs: Embeddings) -> Terms:
        """Return the terms, of which every one is needed: the leads over the others and over the threshold."""
        own, leads = self.leads(outputs)
        values = -leads if self.threshold is None else torch.cat((-leads, (own - self.threshold)[:, None]), 1)
        return Terms(values, every=True)
