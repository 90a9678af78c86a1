"""Kernel density and Bayesian uncertainty (Feinman et al. 2017, arXiv:1703.00410, sections 3.2 to 3.4).

    K(x) = log 1/n_c sum_{i of class c} N( h(x); h(x_i), bandwidth^2 I ),   c the class that the model gives x
    U(x) = 1/T sum_t p_t . p_t - ( 1/T sum_t p_t ) . ( 1/T sum_t p_t ),     p_t the softmax under the t-th dropout mask
    score(x) = w . (K, U) + b,  a logistic regression on clean and adversarial images

h is the last hidden layer. Each image has its own masks at each question: the detector is stochastic.

Departures: dropout is put on the last hidden layer, whether the model was trained with it or not (the authors' nets
have dropout layers); without a bandwidth the one with the highest likelihood of half of the images given the other
half is taken, from 10 multiples of their mean nearest distance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...batching import map_batches
from ...errors import ConfigError, InputError
from ...random import Key
from ...targets import Target
from ..parameters import check_number, check_whole
from .activations import Change, last_linear, modified_layer_input
from .detector import DetectorEstimator, DetectorTrainingData
from .fitted import FittedDetector
from .logistic import fit_logistic

MULTIPLES = torch.logspace(-0.7, 0.7, 10)


@dataclass(frozen=True)
class Densities:
    """The clean activations (N, F) of the last hidden layer, their classes (N,), and the kernels around them."""

    layer: str
    points: Tensor
    classes: Tensor
    bandwidth: float
    n_samples: int
    dropout: float

    def features(self, target: Target[Any], images: Tensor, key: Key) -> Tensor:
        """Return (B, 2): log density and uncertainty of each image."""
        logits, hidden = logits_and_hidden(target, images, self.layer)
        own = logits.argmax(1)[:, None] == self.classes
        density = log_density(hidden, self.points, own, self.bandwidth)
        if not self.n_samples:
            return torch.stack((density, torch.zeros_like(density)), 1)
        square, mean = torch.zeros_like(density), torch.zeros_like(logits)
        for turn in range(self.n_samples):
            kept = key.reseeded(turn).uniform("dropout", hidden.shape[1:], dtype=hidden.dtype) >= self.dropout
            mask = kept / (1 - self.dropout)
            with modified_layer_input(target, self.layer, _times(mask)):
                probabilities = target(images).softmax(1)
            square, mean = square + probabilities.square().sum(1), mean + probabilities
        return torch.stack((density, square / self.n_samples - (mean / self.n_samples).square().sum(1)), 1)


@dataclass(frozen=True, eq=False, kw_only=True)
class FittedDensity(FittedDetector):
    """A `KernelDensity` that has learned."""

    layer: str
    points: Tensor
    classes: Tensor
    bandwidth: float
    n_samples: int
    dropout: float
    weight: Tensor  # (2,)
    bias: Tensor  # ()

    @property
    def stochastic(self) -> bool:
        return self.n_samples > 0

    def differentiable_score(self, images: Tensor, key: Key) -> Tensor:
        densities = Densities(self.layer, self.points, self.classes, self.bandwidth, self.n_samples, self.dropout)
        return densities.features(self.required_target, images, key) @ self.weight + self.bias


@dataclass(frozen=True)
class KernelDensity(DetectorEstimator):
    """Score an image by the density of clean images of its class around it, and by how sure the model is of it.

    Args:
        bandwidth: of the Gaussian kernels, in units of the last hidden layer; None: the likeliest.
        n_samples: T, dropout masks; 50 in the paper. 0: the density alone.
        dropout: share of the last hidden layer's units that a mask takes out.
        C: inverse regularization of the logistic regression, as scikit-learn has it.
    """

    bandwidth: float | None = None
    n_samples: int = 50
    dropout: float = 0.5
    C: float = 1.0

    needs_adversarial: ClassVar[bool] = True
    fitted: ClassVar[type[FittedDetector]] = FittedDensity

    def check(self) -> None:
        if self.bandwidth is not None:
            check_number(self, "bandwidth", self.bandwidth, 0, above=True)
        check_whole(self, "n_samples", self.n_samples, 0)
        check_number(self, "C", self.C, 0, above=True)
        if not 0 < self.dropout < 1:
            raise ConfigError(f"KernelDensity dropout={self.dropout}; pass a share between 0 and 1")

    def learn(self, data: DetectorTrainingData) -> dict[str, Any]:
        target, clean = data.required_target, data.clean
        layer, classes = last_linear(target, clean), data.clean_labels()
        points = map_batches(lambda x: logits_and_hidden(target, x, layer)[1], clean)
        check_classes(classes, ~target(clean[:1])[0].isneginf())
        order = data.shuffled()
        order = order[classes[order].argsort(stable=True)]
        kept, rest = order[::2], order[1::2]  # half of each class
        width = self.bandwidth or most_likely_bandwidth(points[kept], classes[kept], points[rest], classes[rest])
        densities = Densities(layer, points[kept], classes[kept], width, self.n_samples, self.dropout)

        def features(images: Tensor) -> Tensor:
            indices = torch.arange(len(images), device=images.device)
            return map_batches(
                lambda x, indices: densities.features(target, x, Key(indices, data.seed)), images, indices
            )

        negatives = data.with_noisy(clean[rest])
        weight, bias = fit_logistic(features(negatives), features(data.required_adversarial), self.C)
        return {**vars(densities), "weight": weight, "bias": bias}


def _times(mask: Tensor) -> Change:
    """Return the change that takes units out."""
    return lambda x: x * mask.view_as(x)


def logits_and_hidden(target: Target[Any], images: Tensor, layer: str) -> tuple[Tensor, Tensor]:
    """Return the logits (B, K), and what goes into the layer (B, F)."""
    seen: list[Tensor] = []

    def look(x: Tensor) -> Tensor:
        seen.append(x.flatten(1))
        return x

    with modified_layer_input(target, layer, look):
        logits: Tensor = target(images)
    return logits, seen[-1]


def log_density(x: Tensor, points: Tensor, own: Tensor, bandwidth: float) -> Tensor:
    """Return (B,) the log density of x (B, F) under Gaussians around the points (N, F) that `own` (B, N) names."""
    apart = torch.cdist(x, points, compute_mode="donot_use_mm_for_euclid_dist").square()
    exponents = (-apart / (2 * bandwidth**2)).masked_fill(~own, -torch.inf)
    normal = 0.5 * x.shape[1] * math.log(2 * math.pi * bandwidth**2)
    return exponents.logsumexp(1) - own.sum(1).log() - normal


def most_likely_bandwidth(points: Tensor, classes: Tensor, others: Tensor, their_classes: Tensor) -> float:
    """Return the bandwidth under which the others have the highest likelihood, given the points of their classes."""
    own = their_classes[:, None] == classes
    apart = torch.cdist(others, points).masked_fill(~own, torch.inf).amin(1)
    near = float(apart[apart.isfinite()].mean())
    known = own.any(1)
    widths = [near * float(multiple) for multiple in MULTIPLES]
    return max(widths, key=lambda width: float(log_density(others[known], points, own[known], width).mean()))


def check_classes(classes: Tensor, answered: Tensor) -> None:
    """Raise InputError unless each class `answered` (K,) is there at least four times, twice in each half."""
    count = int(answered.sum())
    rare = ((classes.bincount(minlength=len(answered)) < 4) & answered).nonzero().flatten()
    if len(rare):
        raise InputError(
            f"KernelDensity needs four clean images of each of the {count} classes, and there are fewer of "
            f"{len(rare)} (class {int(rare[0])} first); pass more, or use Subspace"
        )
