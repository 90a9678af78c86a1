"""What an attack may climb on logits (B, K): away from a class, or toward one; (B,) each, higher is closer."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor


def gap(logits: Tensor, classes: Tensor) -> Tensor:
    """(B,) the largest other logit minus the logit of `classes`: positive where another class leads."""
    index = classes[:, None]
    return (logits.scatter(1, index, -math.inf).amax(1, keepdim=True) - logits.gather(1, index)).squeeze(1)


class Loss(ABC):
    """A loss with its two directions."""

    @abstractmethod
    def away(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(B,) rises as the rows leave `labels`."""

    @abstractmethod
    def toward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """(B,) rises as the rows approach `targets`."""

    def sloped(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor] | None:
        """`away` and d sum(away) / d logits where `toward` is -`away`, in closed form; None: ask autograd."""
        return None

    def take(self, rows: Tensor) -> Self:
        """The loss of the chosen rows, where it has any."""
        return self._each(lambda tensor: tensor[rows])

    def to(self, device: torch.device) -> Self:
        """The loss with its tensors on `device`."""
        return self._each(lambda tensor: tensor.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Self:
        tensors = {name: change(value) for name, value in vars(self).items() if isinstance(value, Tensor)}
        changed: Self = replace(cast(Any, self), **tensors) if tensors else self
        return changed

    def remark(self, classes: int) -> str | None:
        """What the caller must be told where the loss falls back to another."""
        return None


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """-log softmax(z)_y."""

    def away(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, reduction="none")

    def toward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return -F.cross_entropy(logits, targets, reduction="none")

    def sloped(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor] | None:
        if type(self) is not CrossEntropy:  # what is derived from it may be another loss
            return None
        log_p = logits.detach().log_softmax(1)
        loss = F.nll_loss(log_p, labels, reduction="none")
        return loss, log_p.exp_().scatter_add_(1, labels[:, None], loss.new_full((len(loss), 1), -1.0))


@dataclass(frozen=True)
class LogOdds(Loss):
    """log (1 - p_y) / p_y of the softmax p: the direction of the cross-entropy and of p_y itself, without their zeros.

    d CE = (1 - p_y) d LogOdds, and where the model is sure enough 1 - p_y is 0 in floating point.
    """

    def away(self, logits: Tensor, labels: Tensor) -> Tensor:
        own = logits.gather(1, labels[:, None]).squeeze(1)
        return logits.scatter(1, labels[:, None], -math.inf).logsumexp(1) - own

    def toward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return -self.away(logits, targets)


@dataclass(frozen=True)
class Margin(Loss):
    """max_{i != y} z_i - z_y: the goal's own margin (Carlini & Wagner 2017, f_6)."""

    def away(self, logits: Tensor, labels: Tensor) -> Tensor:
        return gap(logits, labels)

    def toward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return -gap(logits, targets)


@dataclass(frozen=True)
class DLR(Loss):
    """The margin over z_(1) - z_(3), blind to the scale of the logits (Croce & Hein 2020, eq. 6).

    With two classes there is no third logit, and the margin itself is climbed.
    """

    def away(self, logits: Tensor, labels: Tensor) -> Tensor:
        return gap(logits, labels) / spread(logits)

    def toward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return -gap(logits, targets) / spread(logits)

    def remark(self, classes: int) -> str | None:
        return None if classes > 2 else f"DLR needs 3 classes and the model has {classes}: the margin was climbed"


def spread(logits: Tensor, average: bool = False) -> Tensor:
    """(B,) z_(1) - z_(3), or with `average` z_(1) - (z_(3) + z_(4)) / 2; what fewer classes allow, 1 for two."""
    if logits.shape[1] < 3:
        return logits.new_ones(len(logits))
    top = logits.topk(4 if average and logits.shape[1] > 3 else 3, dim=1).values
    return top[:, 0] - top[:, 2:].mean(1) + 1e-12


@dataclass(frozen=True)
class Lead(Loss):
    """z_r - z_y for one rival class r per image: `Lead(rivals)` with rivals (B,) int64."""

    rivals: Tensor

    def away(self, logits: Tensor, labels: Tensor) -> Tensor:
        pair = logits.gather(1, torch.stack((self.rivals, labels), dim=1))
        return pair[:, 0] - pair[:, 1]

    def toward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return -gap(logits, targets)


@dataclass(frozen=True)
class RivalDLR(Lead):
    """The lead of a rival over z_(1) - (z_(3) + z_(4)) / 2 (Croce & Hein 2020, eq. 7).

    With three classes z_(1) - z_(3) takes its place; with two the lead itself is climbed.
    """

    def away(self, logits: Tensor, labels: Tensor) -> Tensor:
        return super().away(logits, labels) / spread(logits, average=True)

    def toward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return super().toward(logits, targets) / spread(logits, average=True)

    def remark(self, classes: int) -> str | None:
        instead = "the lead over z_(1) - z_(3)" if classes == 3 else "the lead"
        told = f"targeted DLR needs 4 classes and the model has {classes}: {instead} was climbed"
        return None if classes > 3 else told


@dataclass(frozen=True)
class Divergence(Loss):
    """KL( softmax(z') || softmax(z) ) from other answers z' = `reference` (B, K), whatever the label.

    Zero, with a zero gradient, where z = z' (Zhang et al. 2019, arXiv:1901.08573).
    """

    reference: Tensor

    def away(self, logits: Tensor, labels: Tensor) -> Tensor:
        wanted = F.log_softmax(self.reference.detach(), 1)
        return F.kl_div(F.log_softmax(logits, 1), wanted, reduction="none", log_target=True).sum(1)

    def toward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return -self.away(logits, targets)


@dataclass(frozen=True)
class SmoothMargin(Loss):
    """T log sum_{i != y} exp(z_i / T) - z_y, the margin with its maximum made smooth: `temperature` T (B,)."""

    temperature: Tensor

    def away(self, logits: Tensor, labels: Tensor) -> Tensor:
        temperature = self.temperature[:, None].to(logits.dtype).clamp_min(1e-6)
        others = (logits / temperature).scatter(1, labels[:, None], -math.inf)
        own = logits.gather(1, labels[:, None])
        return (others.logsumexp(1, keepdim=True) * temperature - own).squeeze(1)

    def toward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return -self.away(logits, targets)


@dataclass(frozen=True)
class SmoothDLR(SmoothMargin):
    """The smooth margin over z_(1) - z_(3)."""

    def away(self, logits: Tensor, labels: Tensor) -> Tensor:
        return super().away(logits, labels) / spread(logits)

    def remark(self, classes: int) -> str | None:
        return DLR().remark(classes)
