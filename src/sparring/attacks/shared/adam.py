"""Adam (Kingma & Ba 2015, arXiv:1412.6980, algorithm 1) as a function of an explicit state."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class NetworkState:
    """The weights of a network under training and Adam's moments, each (P,)."""

    weights: Tensor
    mean: Tensor  # first moment
    square: Tensor  # second moment

    @staticmethod
    def initial(weights: Tensor) -> NetworkState:
        """Return the state before the first update."""
        return NetworkState(weights, torch.zeros_like(weights), torch.zeros_like(weights))


def adam(state: NetworkState, grad: Tensor, learning_rate: float, updates: int) -> NetworkState:
    """Take one descent step along `grad` (P,) after `updates` others, with the paper's constants."""
    mean = state.mean.lerp(grad, 0.1)
    square = state.square.lerp(grad.square(), 0.001)
    step = mean / (1 - 0.9 ** (updates + 1)) / ((square / (1 - 0.999 ** (updates + 1))).sqrt() + 1e-8)
    return NetworkState(state.weights - learning_rate * step, mean, square)
