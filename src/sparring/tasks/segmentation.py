"""`Segmentation`: one class per pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from .task import Task, check_tensor, mean_of_probabilities, valid_logits


@dataclass(frozen=True)
class Segmentation(Task):
    """Outputs are logits (B, K, H, W).

    Answers are fused as "probabilities" (the log of their mean at each pixel) or "logits" (their mean). A person
    reads the share of pixels that have the class of the goal's labels.
    """

    name: ClassVar[str] = "segmentation"
    fusions: ClassVar[tuple[str, ...]] = ("probabilities", "logits")

    def check(self, outputs: Any, count: int) -> None:
        check_tensor(outputs, count, ("inputs", "classes", "height", "width"), self)

    def valid(self, outputs: Any) -> Tensor:
        """Return (B,) bool: rows without NaN or +inf; a class whose logit is -inf is one that is never answered."""
        return valid_logits(outputs)

    def _fused(self, answers: Sequence[Any], how: str) -> Tensor:
        return mean_of_probabilities(answers) if how == "probabilities" else torch.stack(list(answers)).mean(0)

    def prediction(self, outputs: Tensor, goal: Any) -> dict[str, Tensor]:
        """Return `pixel_accuracy` (B,) in [0, 1]."""
        return {"pixel_accuracy": goal.pixel_accuracy(outputs)}
