"""Mahalanobis distance to the nearest class (Lee et al. 2018, arXiv:1807.03888, eq. 2, section 2.2, algorithm 1).

    d_l(x)   = min_c ( h_l(x) - mu_{l,c} )' Sigma_l^{-1} ( h_l(x) - mu_{l,c} )
    x_l      = x - magnitude * sign( grad_x d_l(x) )                      which draws clean images in more than others
    score(x) = w . ( d_l(x_l) )_l + b,  a logistic regression on clean and adversarial images

h_l is the mean over places of layer l, Sigma_l one covariance for all classes. The sign has no slope: to whoever climbs
the score the step is a constant (BPDA), its forward pass exact.

Departures: all layers that are read by default, not one per block; directions of Sigma_l below 1e-6 of its largest
variance are left out, as a pseudo-inverse does; the magnitude is a parameter, where the authors choose it, as well as
the weights, on examples of the attack that is tested.
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
from ..parameters import check_number
from .activations import activations, layer_features, select_layers, spatial_mean
from .detector import DetectorEstimator, DetectorTrainingData
from .fitted import FittedDetector
from .logistic import fit_logistic

RIDGE = 1e-6


@dataclass(frozen=True)
class Gaussians:
    """The class means (classes, units) of each layer, and what whitens them (units, rank)."""

    layers: tuple[str, ...]
    means: tuple[Tensor, ...]
    whiteners: tuple[Tensor, ...]

    def distances(self, target: Target[Any], images: Tensor, magnitude: float) -> Tensor:
        """Return (B, layers) squared distances to the nearest class."""
        if magnitude == 0:
            _, found = activations(target, images, self.layers, spatial_mean)
            return torch.stack([self._distance(place, each) for place, each in enumerate(found)], 1)
        columns = []
        for place, layer in enumerate(self.layers):
            moved = images - magnitude * self._uphill(target, images, place)
            _, (features,) = activations(target, moved, (layer,), spatial_mean)
            columns.append(self._distance(place, features))
        return torch.stack(columns, 1)

    def _distance(self, place: int, features: Tensor) -> Tensor:
        white = self.whiteners[place]
        apart = torch.cdist(features @ white, self.means[place] @ white, compute_mode="donot_use_mm_for_euclid_dist")
        return apart.square().amin(1)

    def _uphill(self, target: Target[Any], images: Tensor, place: int) -> Tensor:
        with torch.enable_grad():
            x = images.detach().requires_grad_()
            _, (features,) = activations(target, x, (self.layers[place],), spatial_mean)
            (grad,) = torch.autograd.grad(self._distance(place, features).sum(), x)
        return grad.sign()


@dataclass(frozen=True, eq=False, kw_only=True)
class FittedMahalanobis(FittedDetector):
    """A `Mahalanobis` that has learned."""

    layers: tuple[str, ...]
    means: tuple[Tensor, ...]
    whiteners: tuple[Tensor, ...]
    weight: Tensor  # (layers,)
    bias: Tensor  # ()
    magnitude: float

    def differentiable_score(self, images: Tensor, key: Key) -> Tensor:
        gaussians = Gaussians(self.layers, self.means, self.whiteners)
        return gaussians.distances(self.required_target, images, self.magnitude) @ self.weight + self.bias


@dataclass(frozen=True)
class Mahalanobis(DetectorEstimator):
    """Score an image by the distance of the layers' activations from those of the nearest class.

    Args:
        magnitude: of the input noise, in pixel units; the authors try 0, 0.0005, 0.001, 0.0014, 0.002, 0.005 and 0.01.
            Above 0 a score costs a backward pass per layer.
        layers: names; None: all that are read by default (`activations.leaves`).
        C: inverse regularization of the logistic regression, as scikit-learn has it.
    """

    magnitude: float = 0.0
    layers: tuple[str, ...] | None = None
    C: float = 1.0

    needs_adversarial: ClassVar[bool] = True
    fitted: ClassVar[type[FittedDetector]] = FittedMahalanobis

    def check(self) -> None:
        check_number(self, "C", self.C, 0, above=True)
        if not 0 <= self.magnitude < 1:
            raise ConfigError(f"Mahalanobis magnitude={self.magnitude}; pass a number from 0 to below 1, as 0.001")

    def learn(self, data: DetectorTrainingData) -> dict[str, Any]:
        target = data.required_target
        layers = select_layers(target, self.layers, data.clean)
        gaussians = fit_gaussians(target, data.clean, data.clean_labels(), layers)

        def features(images: Tensor) -> Tensor:
            return map_batches(lambda x: gaussians.distances(target, x, self.magnitude), images)

        weight, bias = fit_logistic(features(data.negatives), features(data.required_adversarial), self.C)
        return {**vars(gaussians), "weight": weight, "bias": bias, "magnitude": self.magnitude}


def fit_gaussians(target: Target[Any], clean: Tensor, classes: Tensor, layers: tuple[str, ...]) -> Gaussians:
    """Return class means and whitened tied covariances of the layers, from clean images and their classes (N,)."""
    present, place = torch.unique(classes, return_inverse=True)
    if len(clean) <= len(present):
        raise InputError(
            f"{len(clean)} clean images of {len(present)} classes have no spread around their means; pass more of each"
        )
    found = layer_features(target, clean, layers, spatial_mean, batch_size=250)
    means, whiteners = [], []
    for features in (each.double() for each in found):
        sums = features.new_zeros(len(present), features.shape[1]).index_add_(0, place, features)
        mean = sums / place.bincount(minlength=len(present))[:, None]
        apart = features - mean[place]
        variances, directions = torch.linalg.eigh(apart.T @ apart / len(features))
        kept = variances > RIDGE * variances[-1].clamp_min(torch.finfo(variances.dtype).tiny)
        means.append(mean.to(found[0].dtype))
        whiteners.append((directions[:, kept] / variances[kept].sqrt()).to(found[0].dtype))
    return Gaussians(layers, tuple(means), tuple(whiteners))
