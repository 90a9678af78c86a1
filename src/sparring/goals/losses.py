"""What an attack may climb on logits (B, K): away from a class, or toward one; (B,) each, higher is closer."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from ..errors import GoalError


def gap(logits: Tensor, classes: Tensor) -> Tensor:
    """(B,) the largest other logit minus the logit of `classes`: positive where another class leads."""
    own = logits.gather(1, classes[:, None])
    return (logits.scatter(1, classes[:, None], -math.inf).amax(1, keepdim=True) - own).squeeze(1)


class Loss(ABC):
    """A loss with its two directions."""

    @abstractmethod
    def away(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(B,) rises as the rows leave `labels`."""

    @abstractmethod
    def toward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """(B,) rises as the rows approach `targets`."""


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """-log softmax(z)_y."""

    def away(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, reduction="none")

    def toward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return -F.cross_entropy(logits, targets, reduction="none")


@dataclass(frozen=True)
class Margin(Loss):
    """max_{i != y} z_i - z_y: the goal's own margin (Carlini & Wagner 2017, f_6)."""

    def away(self, logits: Tensor, labels: Tensor) -> Tensor:
        return gap(logits, labels)

    def toward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return -gap(logits, targets)


@dataclass(frozen=True)
class DLR(Loss):
    """The margin over z_(1) - z_(3), blind to the scale of the logits (Croce & Hein 2020, eq. 6)."""

    def away(self, logits: Tensor, labels: Tensor) -> Tensor:
        return gap(logits, labels) / self.spread(logits)

    def toward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return -gap(logits, targets) / self.spread(logits)

    @staticmethod
    def spread(logits: Tensor) -> Tensor:
        if logits.shape[1] < 3:
            raise GoalError(f"DLR needs 3 classes and the model has {logits.shape[1]}; use Margin()")
        top = logits.topk(3, dim=1).values
        return top[:, 0] - top[:, 2] + 1e-12
