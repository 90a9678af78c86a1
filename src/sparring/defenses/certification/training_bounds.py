"""Bounds of the margins inside a training step: those of `certify_bounds`, differentiable, without its checks."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from ...geometry.region import Region
from ...goals import Misclassify
from .concretize import InputSet
from .graph import Network, Weights
from .intervals import propagate_intervals
from .linear_bounds import MEMORY, Relaxed, default_slopes, in_portions, lower_bounds, relax
from .specifications import specification


class TrainingBounds(NamedTuple):
    """Lower bounds (B, K - 1) of z_y - z_k in each region: by intervals, and by CROWN-IBP where it was asked for."""

    ibp: Tensor
    crown_ibp: Tensor | None


def training_bounds(
    network: Network, region: Region, labels: Tensor, *, crown: bool = False, statistics: Weights | None = None
) -> TrainingBounds:
    """Return bounds in the dtype of the region's images, differentiable with respect to the network's weights.

    Args:
        network: captured once for images of this shape; it follows its weights.
        region: of B images.
        labels: (B,) int64.
        crown: bound by CROWN-IBP too, from the same intervals.
        statistics: tensors in the place of buffers, by their name in the model: of a batch norm those of a minibatch.
    """
    dtype = region.x.dtype
    weights, inputs = network.weights(dtype, statistics), InputSet.of(region, dtype)
    functions = specification(Misclassify(labels), network.classes, dtype, labels.device).functions
    last, intervals = len(network) - 1, propagate_intervals(network, weights, inputs)
    lower = Relaxed(network, weights, inputs, intervals, {}).bound_affinely(last, functions)
    if not crown:
        return TrainingBounds(lower, None)
    relaxed = relax(network, weights, inputs, intervals, default_slopes)
    return TrainingBounds(lower, in_portions(lower_bounds, relaxed, last, functions, MEMORY))
