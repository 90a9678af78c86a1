"""Local intrinsic dimensionality (Ma et al. 2018, arXiv:1801.02613, eq. 4 and algorithm 1).

    LID(x) = -( 1/k sum_{i=1..k} log( r_i(x) / r_k(x) ) )^{-1}        r_i: distance to the i-th nearest neighbour
    score(x) = w . (LID of each layer) + b,  a logistic regression on clean and adversarial images

Neighbours are sought among the activations of a minibatch of clean images.

Departure: the minibatches are drawn once, from clean images that the regression does not see, and kept; the authors
draw one anew for every batch that they score. So an image has the same score whatever it is scored with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...batching import map_batches
from ...errors import ConfigError, InputError
from ...random import Key
from ...targets import Target
from ..parameters import check_number, check_whole
from .activations import activations, flatten_units, select_layers, spatial_mean
from .detector import DetectorEstimator, DetectorTrainingData
from .fitted import FittedDetector
from .logistic import fit_logistic


@dataclass(frozen=True, eq=False, kw_only=True)
class FittedLID(FittedDetector):
    """A `LID` that has learned."""

    layers: tuple[str, ...]
    reference: tuple[Tensor, ...]  # per layer (minibatches, images, units)
    weight: Tensor  # (layers,)
    bias: Tensor  # ()
    k: int
    pool: bool

    def differentiable_score(self, images: Tensor, key: Key) -> Tensor:
        found = layer_dimensions(self.required_target, images, self.layers, self.reference, self.k, self.pool)
        return found @ self.weight + self.bias


@dataclass(frozen=True)
class LID(DetectorEstimator):
    """Score an image by the local intrinsic dimensionality of its neighborhood in each layer.

    Args:
        k: neighbours; 20 of a minibatch of 100 in the paper for digits.
        minibatch_size: clean images among which they are sought.
        n_minibatches: how many of them the estimate is averaged over.
        layers: names; None: all that are read by default (`activations.leaves`).
        pool: take the mean over places of a layer of rank 4, as large images need it; the paper takes every unit.
        C: inverse regularization of the logistic regression, as scikit-learn has it.
    """

    k: int = 20
    minibatch_size: int = 100
    n_minibatches: int = 1
    layers: tuple[str, ...] | None = None
    pool: bool = False
    C: float = 1.0

    needs_adversarial: ClassVar[bool] = True
    fitted: ClassVar[type[FittedDetector]] = FittedLID

    def check(self) -> None:
        check_whole(self, "k", self.k, 2)
        check_whole(self, "minibatch_size", self.minibatch_size, 2)
        check_whole(self, "n_minibatches", self.n_minibatches, 1)
        check_number(self, "C", self.C, 0, above=True)
        if self.k > self.minibatch_size:
            raise ConfigError(
                f"LID k={self.k} is larger than its reference of minibatch_size={self.minibatch_size} images"
            )

    def learn(self, data: DetectorTrainingData) -> dict[str, Any]:
        target, clean, taken = data.required_target, data.clean, self.minibatch_size * self.n_minibatches
        if len(clean) < taken + 2:
            raise InputError(
                f"LID keeps {taken} clean images as neighbours and learns from others, and there are {len(clean)}; "
                f"pass {2 * taken} or so, or a smaller minibatch_size"
            )
        order = data.shuffled()
        names = select_layers(target, self.layers, clean)
        read = spatial_mean if self.pool else flatten_units
        with torch.no_grad():
            _, found = activations(target, clean[order[:taken]], names, read)
        reference = tuple(each.view(self.n_minibatches, self.minibatch_size, -1) for each in found)

        def features(images: Tensor) -> Tensor:
            return map_batches(lambda x: layer_dimensions(target, x, names, reference, self.k, self.pool), images)

        negatives = data.with_noisy(clean[order[taken:]])
        weight, bias = fit_logistic(features(negatives), features(data.required_adversarial), self.C)
        return {
            "layers": names, "reference": reference, "weight": weight, "bias": bias, "k": self.k, "pool": self.pool
        }  # fmt: skip


def layer_dimensions(
    target: Target[Any],
    images: Tensor,
    layers: tuple[str, ...],
    reference: tuple[Tensor, ...],
    k: int,
    pool: bool,
) -> Tensor:
    """Return (B, layers) the LID of each image among the reference, averaged over its minibatches."""
    _, found = activations(target, images, layers, spatial_mean if pool else flatten_units)
    columns = [intrinsic_dimension(reference_distances(a, r), k).mean(1) for a, r in zip(found, reference, strict=True)]
    return torch.stack(columns, 1)


def reference_distances(points: Tensor, reference: Tensor) -> Tensor:
    """Return (B, minibatches, images) Euclidean distances, by a matrix product: activations have thousands of units.

    |a|^2 - 2 ab + |b|^2 is taken around the mean of the reference, so that little is lost to rounding.
    """
    flat = reference.flatten(0, 1)
    middle = flat.mean(0)
    a, b = points - middle, flat - middle
    squares = a.square().sum(1, keepdim=True) - 2 * a @ b.T + b.square().sum(1)
    return squares.clamp_min(torch.finfo(squares.dtype).tiny).sqrt().view(len(points), *reference.shape[:2])


def intrinsic_dimension(apart: Tensor, k: int) -> Tensor:
    """Return (...) the maximum-likelihood estimate from the k smallest of the distances (..., R)."""
    nearest = apart.topk(k, largest=False).values.clamp_min(torch.finfo(apart.dtype).tiny)
    return -1 / (nearest / nearest[..., -1:]).log().mean(-1).clamp_max(-torch.finfo(apart.dtype).eps)
