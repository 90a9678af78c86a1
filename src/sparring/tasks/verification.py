"""`Verification`: embeddings compared with templates of persons or things.

A similarity is higher the more alike two embeddings are, whatever they are compared by: the cosine, or the Euclidean
distance with its sign reversed. So a threshold of -0.6 accepts what is at most 0.6 apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from ..errors import ConfigError
from .report import Results, Section
from .task import Task, check_tensor
from .verification_report import verification_sections


def _nearness(embeddings: Tensor, templates: Tensor, dim: int) -> Tensor:
    distance: Tensor = torch.linalg.vector_norm(embeddings - templates, dim=dim)
    return -distance


METRICS: dict[str, Callable[..., Tensor]] = {"cosine": cosine_similarity, "euclidean": _nearness}


def check_metric(metric: str) -> None:
    """Raise ConfigError for a way to compare embeddings that is unknown."""
    if metric not in METRICS:
        raise ConfigError(f"metric={metric!r:.40} is unknown; pass one of {', '.join(METRICS)}")


def similarity(embeddings: Tensor, templates: Tensor, metric: str = "cosine") -> Tensor:
    """Return the similarities of embeddings (..., D) with templates (..., D), broadcast: (...).

    Args:
        embeddings, templates: real numbers.
        metric: "cosine", in [-1, 1], or "euclidean": minus the distance, 0 for the same.

    Raises: ConfigError for another metric.
    """
    check_metric(metric)
    found: Tensor = METRICS[metric](embeddings, templates, dim=-1)
    return found


@dataclass(frozen=True)
class Verification(Task):
    """Outputs are embeddings (B, D), which are compared with the templates of the goal by `metric`.

    Args:
        metric: "cosine" or "euclidean"; see `similarity`.

    Answers are fused as the mean of their unit vectors, or where distances count of the vectors themselves. A person
    reads the largest similarity with the goal's templates, and whether it reaches the goal's threshold.

    Raises: ConfigError for another metric.
    """

    metric: str = "cosine"

    name: ClassVar[str] = "verification"
    fusions: ClassVar[tuple[str, ...]] = ("mean",)

    def __post_init__(self) -> None:
        check_metric(self.metric)

    def check(self, outputs: Any, count: int) -> None:
        check_tensor(outputs, count, ("inputs", "dimensions"), self)

    def _fused(self, answers: Sequence[Any], how: str) -> Tensor:
        directions = self.metric == "cosine"
        return torch.stack([normalize(one, dim=1) if directions else one for one in answers]).mean(0)

    def prediction(self, outputs: Tensor, goal: Any) -> dict[str, Tensor]:
        """Return `similarity` (B,) and `accepted` (B,) bool."""
        similarity = goal.similarity(outputs)
        return {"similarity": similarity, "accepted": similarity >= goal.threshold}

    @classmethod
    def sections(cls, results: Results) -> tuple[Section, ...]:
        """Return attack success at each threshold, error rates, scores, ROC and DET before and after, and pictures."""
        return verification_sections(results)
