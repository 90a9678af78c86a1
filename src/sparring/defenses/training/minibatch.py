"""One minibatch, and what an objective may ask for while it makes its adversarial examples."""

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

Net = Callable[[Tensor], Tensor]  # images (B, C, H, W) in [0, 1] -> logits (B, K)


@dataclass(frozen=True)
class Minibatch:
    """Images (B, C, H, W) in [0, 1], labels (B,) int64, and the key of their draws in this epoch."""

    images: Tensor
    labels: Tensor
    key: Key

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Craft:
    """Makes the examples of one minibatch against the model as it stands: `craft(0)` runs the first of its attacks.

    `attacks` are at the strength of the present moment; `trainee` is the model; `sources` are other models, whose
    examples are transferred; `memory` is what an objective keeps from one minibatch to the next; `step` counts the
    minibatches since the beginning.
    """

    batch: Minibatch
    trainee: Trainee
    attacks: tuple[Attack[Any, Any], ...]
    sources: tuple[Target[Any], ...]
    worst: bool
    step: int
    memory: dict[str, Tensor]
    engine: Engine

    @property
    def ball(self) -> Ball:
        """The first attack's, at its present radius."""
        return self.attacks[0].ball

    def __call__(
        self, which: int = 0, *, loss: Climb | None = None, start: Tensor | None = None, on: Target[Any] | None = None
    ) -> Tensor:
        """Examples (B, C, H, W) of attack `which` that climb `loss` (cross-entropy) from `start`, on the model `on`."""
        batch, target, attack = self.batch, self.trainee if on is None else on, self.attacks[which]
        if loss is not None and getattr(attack, "loss", None) is not None:
            attack = replace(cast(Any, attack), loss=None)  # what is asked for goes before an attack's own
        goal = Misclassify(batch.labels, loss or CrossEntropy())
        if self.worst:
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
        """(B, K) of the model in the mode of the attack, without slopes."""
        device = images.device
        with self.trainee.frozen(), torch.no_grad(), self.engine.precision(device):
            return self.trainee(images)

    def near(self, spread: float) -> Tensor:
        """Return the images moved by Gaussian noise of that standard deviation, within [0, 1]."""
        images = self.batch.images
        noise = self.batch.key.normal("near", images.shape[1:], dtype=images.dtype)
        return noise.mul_(spread).add_(images).clamp_(0, 1)

    def within(self) -> Tensor:
        """Return the images moved by a draw from the ball."""
        return self.batch.images + self.ball.sample(self.batch.key, self.batch.images, "within")
