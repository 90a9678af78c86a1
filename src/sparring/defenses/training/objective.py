"""The base class `Objective` of training: it makes examples against the current model, and gives a loss per row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import ConfigError
from ...targets import Classifier
from .adversary import Adversary
from .minibatch import Craft, Minibatch, Net

Certifier = Callable[[Tensor, Tensor], Tensor]  # images, labels -> which are certified for their label


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

    @property
    def needs_bounds(self) -> bool:
        """Tell whether its losses take bounds of the model: each `Minibatch` then has the model's `network`."""
        return False

    def certifier(self, target: Classifier, images: Tensor) -> Certifier | None:
        """Return what certifies held-out images after each epoch, by which epochs are judged; None: nothing does.

        It takes images (B, C, H, W) on the model's device with their labels (B,), and returns (B,) bool: which are
        certified for their label, by the weights as they are then. `images` are some like them.
        """
        return None

    def check(self, adversary: Adversary) -> None:
        """Raise ConfigError where it cannot work with this adversary; the number of its attacks is checked before."""
        return

    def check_network(self, network: nn.Module) -> None:
        """Raise TargetError where it cannot train this network."""
        return

    def check_images(self, classifier: Classifier, images: Tensor) -> None:
        """Raise TargetError or ThreatError where it cannot train this classifier on images like these (B, C, H, W)."""
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


def check_share(objective: Objective, *words: str) -> None:
    """Raise ConfigError where one of these parameters is no share in [0, 1]."""
    for word in words:
        check_field(objective, word, 0 <= getattr(objective, word) <= 1, "a share in [0, 1]")


def per_row(craft: Craft, *values: float) -> tuple[Tensor, ...]:
    """Return each value for every row of the minibatch: (B,), in the dtype of its images."""
    images = craft.batch.images
    return tuple(images.new_full((len(images),), value) for value in values)


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
