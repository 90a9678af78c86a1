"""`Identification`: embeddings searched in a gallery of one template for each person (1:N)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from .identification_report import identification_sections
from .report import Results, Section
from .verification import Verification


@dataclass(frozen=True)
class Identification(Verification):
    """Outputs are embeddings (B, D), which are searched in the gallery of the goal by `metric`.

    Args:
        metric: "cosine" or "euclidean"; see `similarity`.

    A person reads the rank of the goal's person among the gallery, the similarity with that person, the lead of the
    nearest other one, and whether the person is identified: within the goal's rank, and not below its threshold.
    """

    name: ClassVar[str] = "identification"

    def prediction(self, outputs: Tensor, goal: Any) -> dict[str, Tensor]:
        """Return `rank` (B,) int64 from 1 on, `similarity`, `lead` of the nearest other and `identified`, (B,) each."""
        own, leads = goal.leads(outputs)
        rank = 1 + (leads > 0).sum(1)
        found = rank <= goal.rank
        if goal.threshold is not None:
            found &= own >= goal.threshold
        return {"rank": rank, "similarity": own, "lead": leads.amax(1), "identified": found}

    @classmethod
    def sections(cls, results: Results) -> tuple[Section, ...]:
        """Return identification rates by rank and threshold before and after, and pictures."""
        return identification_sections(results)
