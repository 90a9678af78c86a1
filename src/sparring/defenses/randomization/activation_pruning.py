"""Stochastic activation pruning (Dhillon et al. 2018, arXiv:1803.01442, section 3, algorithm 1).

    p_i = |a_i| / sum_j |a_j|;   r draws from p, with replacement
    a_i -> a_i / (1 - (1 - p_i)^r)  where i was drawn at least once, else 0

The expectation is a. It needs no training.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..parameters import check_number
from .layer_insertion import InsertedLayer, insert_layers

ACTIVATIONS = (nn.ReLU, nn.ReLU6)


class ActivationPruning(InsertedLayer):
    """Prune the activations (B, ...) of each image at random, and scale those that are kept.

    The draws are the paper's own, r from one distribution over all activations of the layer, by inversion of its sums
    in float64. The factors 1 / (1 - (1 - p)^r) are held constant in the backward pass: then the expectation of the
    slope, too, is the slope of the expectation.

    Args:
        fraction: r is this share of the layer's activations (of one image), rounded, at least 1; it may be above 1.

    Raises: ConfigError.
    """

    def __init__(self, fraction: float = 1.0) -> None:
        super().__init__()
        check_number(self, "fraction", fraction, 0, above=True)
        self.fraction = float(fraction)

    def noisy(self, inputs: Tensor) -> Tensor:
        """Return the inputs (B, ...) pruned and scaled."""
        with torch.no_grad():
            factors = self._factors(inputs.detach().flatten(1).abs())
        return inputs * factors.to(inputs.dtype).view_as(inputs)

    def _factors(self, sizes: Tensor) -> Tensor:
        """(B, n) what the activations of these sizes are multiplied by: 0 where they are pruned."""
        count = sizes.shape[1]
        draws = max(1, round(self.fraction * count))
        sums = sizes.cumsum(1, dtype=torch.float64)
        total = sums[:, -1:]
        places = self.uniform(sums.new_empty(len(sums), draws)) * total
        drawn = torch.searchsorted(sums, places, right=True).clamp_max_(count - 1)
        kept = torch.zeros_like(sizes, dtype=torch.bool).scatter_(1, drawn, True) & (sizes > 0)
        share = (sizes / total.clamp_min(torch.finfo(total.dtype).tiny)).clamp_max_(1)
        chance = -torch.expm1(draws * torch.log1p(-share.to(torch.promote_types(sizes.dtype, torch.float32))))
        return torch.where(kept, 1 / chance, 0.0)

    def extra_repr(self) -> str:
        return f"fraction={self.fraction:g}"


def add_activation_pruning(network: nn.Module, fraction: float = 1.0) -> nn.Module:
    """Return a copy of `network` with pruning behind each of its ReLU and ReLU6 modules.

    Args:
        network: any module, trained already.
        fraction: of each layer's activations, as many are drawn.

    Raises: TargetError, ConfigError.
    """

    def wrap(activation: nn.Module, number: int) -> nn.Sequential:
        return nn.Sequential(activation, ActivationPruning(fraction))

    return insert_layers(network, ACTIVATIONS, ActivationPruning, wrap)
