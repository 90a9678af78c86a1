"""One minibatch, and the attacks that an objective may run on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from ...access import Attack, Keep
from ...engine import Engine, crafted, run
from ...geometry import Ball
from ...geometry.region import Region
from ...goals import Climb, CrossEntropy, Misclassify
from ...random import Key
from ...targets import Target, Trainee
from ..certification import Network

Net = Callable[[Tensor], Tensor]  # images (B, C, H, W) in [0, 1] -> logits (B, K)


@dataclass(frozen=True)
class Minibatch:
    """One minibatch: images (B, C, H, W) in [0, 1], labels (B,) int64, and the key of their draws in this epoch.

    `n_train` is the number of training images in all, for terms of the whole data set; 0 outside of a training.
    `network` is the graph of the model, for objectives with `needs_bounds`; None for all others.
    """

    images: Tensor
    labels: Tensor
    key: Key
    n_train: int = 0
    network: Network | None = None

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Craft:
    """Makes adversarial examples of one minibatch against the current model: `craft(0)` runs the first attack.

    Args:
        batch: the minibatch.
        trainee: the model, as its own attacks see it.
        attacks: the attacks, with their radius and steps at this point of the training.
        sources: other models, whose examples are transferred.
        highest_loss: return the example of the highest loss, not the last.
        step: minibatches since the beginning.
        memory: tensors that an objective keeps from one minibatch to the next.
        engine: batch size and precision of the attacks.
        eps_share: share of the full radius at this point of the training, which `attacks` have already.
    """

    batch: Minibatch
    trainee: Trainee
    attacks: tuple[Attack[Any, Any], ...]
    sources: tuple[Target[Any], ...]
    highest_loss: bool
    step: int
    memory: dict[str, Tensor]
    engine: Engine
    eps_share: float = 1.0

    @property
    def ball(self) -> Ball:
        """Return the ball of the first attack, at its present radius."""
        return self.attacks[0].ball

    def __call__(
        self,
        which: int = 0,
        *,
        loss: Climb | None = None,
        start: Tensor | None = None,
        target: Target[Any] | None = None,
    ) -> Tensor:
        """Return examples (B, C, H, W) of attack number `which`.

        Args:
            loss: the loss that the attack ascends; cross-entropy by default.
            start: images (B, C, H, W) to begin at; the attack's own start by default.
            target: the model that is attacked; the trainee by default.
        """
        batch, attack = self.batch, self.attacks[which]
        target = self.trainee if target is None else target
        if loss is not None and getattr(attack, "loss", None) is not None:
            attack = replace(cast(Any, attack), loss=None)  # the argument takes precedence over the attack's own loss
        goal = Misclassify(batch.labels, loss or CrossEntropy())
        if self.highest_loss:
            engine = replace(self.engine, seed=batch.key.seed, batch_size=max(len(batch), self.engine.batch_size))
            indices = batch.key.indices.cpu()
            found = run(
                attack, target, goal, batch.images, indices=indices, start=start, keep=Keep.HIGHEST_LOSS, engine=engine
            )
            return found.examples
        with target.frozen():
            region = Region.around(batch.images, attack.ball, target.inputs)
            return crafted(attack, target, goal, region, batch.key, start, self.engine)

    def logits(self, images: Tensor) -> Tensor:
        """Return the model's logits (B, K), in the mode in which it is attacked and without gradients."""
        device = images.device
        with self.trainee.frozen(), torch.no_grad(), self.engine.precision(device):
            return self.trainee(images)

    def add_noise(self, sigma: float) -> Tensor:
        """Return the images with Gaussian noise of standard deviation `sigma`, cut at [0, 1]."""
        images = self.batch.images
        noise = self.batch.key.normal("near", images.shape[1:], dtype=images.dtype)
        return noise.mul_(sigma).add_(images).clamp_(0, 1)

    def random_in_ball(self) -> Tensor:
        """Return the images with a perturbation drawn uniformly from the ball."""
        return self.batch.images + self.ball.sample(self.batch.key, self.batch.images, "within")
