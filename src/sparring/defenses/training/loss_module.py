"""The module that Fabric wraps: one forward call of it makes every pass of the model that a loss needs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...random import Key
from ...targets import Classifier
from ..certification import Network
from .minibatch import Minibatch
from .objective import Objective


class LossModule(nn.Module):
    """Compute this process's share of the mean loss from its part of a minibatch."""

    def __init__(self, classifier: Classifier, objective: Objective, processes: int, n_train: int) -> None:
        super().__init__()
        self.net = classifier.model
        self._classifier, self._objective, self._processes = classifier, objective, processes
        self._n_train = n_train
        self.network: Network | None = None  # of the classifier, for an objective that needs bounds

    def forward(self, images: Tensor, labels: Tensor, indices: Tensor, seed: int, rows: int, *examples: Tensor) -> Any:
        """Return the loss; `rows` is the size of the whole minibatch, since processes average their gradients."""
        batch = Minibatch(images, labels, Key(indices, seed), self._n_train, self.network)
        losses = self._objective.losses(self._classifier, batch, examples)
        return losses.sum() * (self._processes / rows)


class WeightPerturber:
    """Move the weights up the objective, layer by layer, and put them back exactly."""

    def __init__(self, module: nn.Module, gamma: float) -> None:
        self.gamma = gamma
        named = [(name, weight) for name, weight in module.named_parameters() if weight.requires_grad]
        self.weights = [weight for _, weight in named if weight.ndim > 1]
        self.buffers = list(module.buffers())
        self.statistics = [buffer.detach().clone() for buffer in self.buffers]
        self.before: list[Tensor] = []

    def move(self) -> None:
        """Set w <- w + gamma |w| g / |g| from the gradients in place, and restore batch-norm statistics."""
        self.before = [weight.detach().clone() for weight in self.weights]
        with torch.no_grad():
            for buffer, value in zip(self.buffers, self.statistics, strict=True):
                buffer.copy_(value)
            for weight in self.weights:
                if weight.grad is not None:
                    size = weight.grad.norm().clamp_min(torch.finfo(weight.dtype).tiny)
                    weight.add_(weight.grad * (self.gamma * weight.norm() / size))

    def put_back(self) -> None:
        """Restore the weights that `move` changed."""
        with torch.no_grad():
            for weight, value in zip(self.weights, self.before, strict=True):
                weight.copy_(value)
