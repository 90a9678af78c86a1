"""`Classification`: one class per input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from .task import Task, check_tensor, mean_of_probabilities, valid_logits


@dataclass(frozen=True)
class Classification(Task):
    """Outputs are logits (B, K).

    Answers are fused as "probabilities" (the log of their mean), "logits" (their mean) or "majority" (the log of the
    share of votes). A person reads the class of the largest logit and its softmax probability.
    """

    name: ClassVar[str] = "classification"
    fusions: ClassVar[tuple[str, ...]] = ("probabilities", "logits", "majority")

    def check(self, outputs: Any, count: int) -> None:
        check_tensor(outputs, count, ("inputs", "classes"), self)

    def valid(self, outputs: Any) -> Tensor:
        """Return (B,) bool: rows without NaN or +inf; a class whose logit is -inf is one that is never answered."""
        return valid_logits(outputs)

    def _fused(self, answers: Sequence[Any], how: str) -> Tensor:
        logits = torch.stack(list(answers))
        if how == "logits":
            return logits.mean(0)
        if how == "majority":
            cast = F.one_hot(logits.argmax(2), logits.shape[2]).to(logits.dtype).mean(0)
            return (cast + torch.finfo(logits.dtype).eps).log()
        return mean_of_probabilities(answers)

    def prediction(self, outputs: Tensor, goal: Any) -> dict[str, Tensor]:
        """Return `predicted` (B,) int64, the class, and `confidence` (B,) in [0, 1]."""
        confidence, predicted = outputs.softmax(1).max(1)
        return {"predicted": predicted, "confidence": confidence}
