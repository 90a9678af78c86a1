"""The base class `Objective` of training: it makes examples against the current model, and gives a loss per row."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import ConfigError
from ...targets import Classifier
from ..certification import PatchCertificates
from .adversary import Adversary
from .minibatch import Craft, Minibatch, Net


class Objective(ABC):
    """Base class of what training minimizes; subclasses are frozen dataclasses of plain parameters.

    `examples` runs attacks and evaluates clean images; no gradient reaches the weights from it. `losses` is
    differentiated with respect to the weights: it runs inside `LossModule`, which Fabric wraps, and may call `net`
    several times. The loss of a row does not depend on the batch size, so that the mean over all rows is the same on
    one device and on many.
    """

    @property
    def attacks(self) -> tuple[int, int]:
        """Return the least and the largest number of attacks that it works with."""
        return 1, 1

    @property
    def minibatch_replays(self) -> int:
        """Return the number of updates made with each minibatch."""
        return 1

    @property
    def runs_attacks(self) -> bool:
        """Tell whether it runs the adversary's attacks."""
        return self.attacks[1] > 0

    def certify(self, target: Classifier, images: Tensor) -> PatchCertificates | None:
        """Return the certificates of the defence that it trains for, by which epochs are judged; None: there are none.

        Called on held-out images (B, C, H, W) after each epoch, with the model on its device.
        """
        return None

    def check(self, adversary: Adversary) -> None:
        """Raise ConfigError where it cannot work with this adversary; the number of its attacks is checked before."""
        return

    def check_network(self, network: nn.Module) -> None:
        """Raise TargetError where it cannot train this network."""
        return

    def examples(self, craft: Craft) -> tuple[Tensor, ...]:
        """Return the tensors that `losses` takes beside the clean images; each has one row per image."""
        return ()

    @abstractmethod
    def losses(self, net: Net, batch: Minibatch, examples: tuple[Tensor, ...]) -> Tensor:
        """Return the loss (B,) of each row, from `net`: images (B, C, H, W) -> logits (B, K)."""

    def after_update(self, craft: Craft, examples: tuple[Tensor, ...]) -> None:
        """Store in `craft.memory` what the next minibatch needs; called after each update."""
        return


def check_field(objective: Objective, word: str, holds: bool, wanted: str) -> None:
    """Raise ConfigError where a parameter is not what is `wanted`."""
    if not holds:
        raise ConfigError(f"{type(objective).__name__} {word}={getattr(objective, word)!r}; pass {wanted}")


def cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Return (B,) -sum_k q_k log softmax(z)_k; q is 1 - s + s / K on the label and s / K elsewhere.

    K counts the classes whose logit is not -inf: the model never answers the others.
    """
    own = F.cross_entropy(logits, labels, reduction="none")
    if label_smoothing == 0:
        return own
    absent = logits.isneginf()
    every = -logits.log_softmax(1).masked_fill(absent, 0).sum(1) / (~absent).sum(1)
    return (1 - label_smoothing) * own + label_smoothing * every


def one_hot(labels: Tensor, logits: Tensor) -> Tensor:
    """Return (B, K) bool: True at the label of each row."""
    return torch.zeros_like(logits, dtype=torch.bool).scatter_(1, labels[:, None], True)
