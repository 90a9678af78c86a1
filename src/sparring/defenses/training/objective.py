"""What training minimises: examples first, made against the model as it stands, then a loss for each row."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn import functional as F

from ...errors import ConfigError
from .adversary import Adversary
from .minibatch import Craft, Minibatch, Net


class Objective(ABC):
    """A frozen dataclass of plain parameters.

    `examples` asks the model for nothing but attacks and looks; no gradient reaches the weights from it. `losses` is
    what is differentiated: it runs inside the module that the devices share, and may ask `net` several times. Each
    row's loss depends on the size of no batch, so that the mean over all rows is the same on one device and on many.
    """

    @property
    def attacks(self) -> tuple[int, int]:
        """How many attacks it works with: at least, at most."""
        return 1, 1

    @property
    def minibatch_replays(self) -> int:
        """How many updates each minibatch is used for."""
        return 1

    @property
    def runs_attacks(self) -> bool:
        """Does it run the adversary's attacks?"""
        return self.attacks[1] > 0

    def check(self, adversary: Adversary) -> None:
        """Raise ConfigError where it cannot work with this adversary, whose number of attacks is right."""
        return

    def examples(self, craft: Craft) -> tuple[Tensor, ...]:
        """What the loss is to see beside the clean images; every tensor has one row per image."""
        return ()

    @abstractmethod
    def losses(self, net: Net, batch: Minibatch, examples: tuple[Tensor, ...]) -> Tensor:
        """(B,) what is minimised, row by row."""

    def after_update(self, craft: Craft, examples: tuple[Tensor, ...]) -> None:
        """After the update; what is to be kept for the next minibatch goes into `craft.memory`."""
        return


def check_field(objective: Objective, word: str, holds: bool, wanted: str) -> None:
    """Raise ConfigError where a parameter is not what is `wanted`."""
    if not holds:
        raise ConfigError(f"{type(objective).__name__} {word}={getattr(objective, word)!r}; pass {wanted}")


def cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """(B,) -sum_k q_k log softmax(z)_k, with q the label smoothed: 1 - s + s / K on the label, s / K elsewhere."""
    return F.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)


def kl_divergence(reference: Tensor, logits: Tensor) -> Tensor:
    """(B,) KL( softmax(reference) || softmax(logits) ), summed over the classes; both are differentiated."""
    wanted = F.log_softmax(reference, 1)
    return F.kl_div(F.log_softmax(logits, 1), wanted, reduction="none", log_target=True).sum(1)


def one_hot(labels: Tensor, logits: Tensor) -> Tensor:
    """(B, K) bool: the label's place."""
    return torch.zeros_like(logits, dtype=torch.bool).scatter_(1, labels[:, None], True)
