"""The residual of an activation outside the subspace of clean activations; a detector for few clean images.

    rho_l(x) = | (I - V_l V_l') (h_l(x) - mu_l) |       V_l: leading principal directions of clean activations
    score(x) = mean over layers of ( log rho_l(x) - m_l ) / s_l

h_l is the mean over places of layer l; m_l and s_l are mean and deviation of log rho_l on clean images that the
subspace was found without (cross-validation), so that few images suffice: the residual of an image that helped to find
the subspace says nothing. It needs no adversarial examples.

Ours, after Hendrycks & Gimpel 2017 (arXiv:1608.00530: principal components of images) and Li & Li 2017
(arXiv:1612.07767: of convolutions' outputs).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...errors import ConfigError, InputError
from ...random import Key
from ..parameters import check_whole
from .activations import activations, layer_features, select_layers, spatial_mean
from .detector import DetectorEstimator, DetectorTrainingData
from .fitted import FittedDetector


@dataclass(frozen=True, eq=False, kw_only=True)
class FittedSubspace(FittedDetector):
    """A `Subspace` that has learned."""

    layers: tuple[str, ...]
    centers: tuple[Tensor, ...]  # per layer (units,)
    directions: tuple[Tensor, ...]  # per layer (units, rank)
    usual: Tensor  # (layers,)
    scale: Tensor  # (layers,)

    def differentiable_score(self, images: Tensor, key: Key) -> Tensor:
        _, found = activations(self.required_target, images, self.layers, spatial_mean)
        columns = [log_residual(*parts) for parts in zip(found, self.centers, self.directions, strict=True)]
        return ((torch.stack(columns, 1) - self.usual) / self.scale).mean(1)


@dataclass(frozen=True)
class Subspace(DetectorEstimator):
    """Score an image by the part of its activations that lies outside the subspace of clean images.

    Args:
        explained_variance: share of the clean variance that the directions of a layer hold.
        n_splits: parts of the cross-validation.
        layers: names; None: all that are read by default (`activations.leaves`).
    """

    explained_variance: float = 0.9
    n_splits: int = 5
    layers: tuple[str, ...] | None = None

    fitted: ClassVar[type[FittedDetector]] = FittedSubspace

    def check(self) -> None:
        check_whole(self, "n_splits", self.n_splits, 2)
        if not 0 < self.explained_variance < 1:
            raise ConfigError(f"Subspace explained_variance={self.explained_variance}; pass a share between 0 and 1")

    def learn(self, data: DetectorTrainingData) -> dict[str, Any]:
        target, clean = data.required_target, data.clean
        if len(clean) < 2 * self.n_splits:
            raise InputError(
                f"Subspace needs {2 * self.n_splits} clean images for {self.n_splits} folds; got {len(clean)}"
            )
        layers = select_layers(target, self.layers, clean)
        features = layer_features(target, clean, layers, spatial_mean, batch_size=50)
        fold = torch.arange(len(clean), device=clean.device) % self.n_splits
        found = torch.stack([self._unseen(each, fold) for each in features], 1)
        scale = found.std(0, correction=0)
        informative = (scale > 0) & found.isfinite().all(0)
        if not bool(informative.any()):
            raise InputError("no layer tells one clean image from another; name other layers")
        kept = informative.nonzero().flatten().tolist()
        spans = [principal_directions(features[place], self.explained_variance) for place in kept]
        return {
            "layers": tuple(layers[place] for place in kept),
            "centers": tuple(center for center, _ in spans),
            "directions": tuple(directions for _, directions in spans),
            "usual": found.mean(0)[kept],
            "scale": scale[kept],
        }

    def _unseen(self, features: Tensor, fold: Tensor) -> Tensor:
        """(N,) the residual of each image outside a subspace that was found without it."""
        found = features.new_empty(len(features))
        for number in range(self.n_splits):
            left_out = fold == number
            found[left_out] = log_residual(
                features[left_out], *principal_directions(features[~left_out], self.explained_variance)
            )
        return found


def principal_directions(features: Tensor, variance: float) -> tuple[Tensor, Tensor]:
    """Return the center (F,) of features (N, F), and orthonormal directions (F, r) with that share of the variance.

    At least one direction, and at most half as many as there are features.
    """
    center = features.mean(0)
    _, sizes, directions = torch.linalg.svd((features - center).double(), full_matrices=False)
    shares = sizes.square().cumsum(0) / sizes.square().sum().clamp_min(torch.finfo(sizes.dtype).tiny)
    rank = int((shares < variance).sum()) + 1
    return center, directions[: max(1, min(rank, len(features) // 2))].T.to(features)


def log_residual(features: Tensor, center: Tensor, directions: Tensor) -> Tensor:
    """Return (B,) the log of the norm of what lies outside the directions."""
    apart = features - center
    left = apart - (apart @ directions) @ directions.T
    return 0.5 * left.square().sum(1).clamp_min(torch.finfo(left.dtype).tiny).log()
