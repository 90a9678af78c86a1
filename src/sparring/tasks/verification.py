"""`Verification`: embeddings compared with templates of persons or things."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from .task import Task, check_tensor


@dataclass(frozen=True)
class Verification(Task):
    """Outputs are embeddings (B, D), which are compared by their cosine with the templates of the goal.

    Answers are fused as the mean of their unit vectors. A person reads the largest similarity with the goal's
    templates, and whether it reaches the goal's threshold.
    """

    name: ClassVar[str] = "verification"
    fusions: ClassVar[tuple[str, ...]] = ("mean",)

    def check(self, outputs: Any, count: int) -> None:
        check_tensor(outputs, count, ("inputs", "dimensions"), self)

    def _fused(self, answers: Sequence[Any], how: str) -> Tensor:
        return torch.stack([normalize(one, dim=1) for one in answers]).mean(0)

    def prediction(self, outputs: Tensor, goal: Any) -> dict[str, Tensor]:
        """Return `similarity` (B,) in [-1, 1] and `accepted` (B,) bool."""
        similarity = goal.similarity(outputs)
        return {"similarity": similarity, "accepted": similarity >= goal.threshold}
