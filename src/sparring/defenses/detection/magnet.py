"""MagNet (Meng & Chen 2017, arXiv:1705.09064): an autoencoder of clean images that detects and reforms.

    r(x) = AE(x)        errors: mean |x - r|,  mean (x - r)^2,  JSD( softmax(f(x) / T), softmax(f(r) / T) ), T = 10, 40
    score(x) = max over the errors of (error - its mean) / its deviation, both on clean images that AE did not learn

The reformer is a stage, x -> AE(x), to be put between the detector and the model. The autoencoder learns to restore
clean images with Gaussian noise, and needs no adversarial examples.

Departures: one autoencoder for all errors, where the authors have two for digits, with ReLU in place of their sigmoids
and more channels; one threshold on the largest error, where they have one each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...batching import map_batches
from ...errors import InputError
from ...log_probabilities import log_sum_exp, weighted_sum
from ...random import Key
from ...targets import Target
from ..fitting import FitConfig
from ..parameters import check_number, check_whole
from ..purification.autoencoder import fit_denoiser
from ..purification.denoiser import Denoiser
from .detector import DetectorEstimator, DetectorTrainingData
from .fitted import FittedDetector
from .learning import seeded
from .nets import Autoencoder


@dataclass(frozen=True, eq=False, kw_only=True)
class FittedMagNet(FittedDetector):
    """A `MagNet` that has learned."""

    net: nn.Module
    center: Tensor  # (errors,)
    scale: Tensor
    temperatures: tuple[float, ...]

    def differentiable_score(self, images: Tensor, key: Key) -> Tensor:
        found = reconstruction_errors(self.required_target, self.net, self.temperatures, images)
        return ((found - self.center) / self.scale).amax(1)

    @property
    def reformer(self) -> Denoiser:
        """Return the autoencoder as a stage, to be put behind the detector."""
        return Denoiser(self.net)


@dataclass(frozen=True)
class MagNet(DetectorEstimator):
    """Score an image by how badly an autoencoder restores it, and by how much the model's answer changes.

    Args:
        temperatures: of the softmaxes that are compared; 10 and 40 in the paper, () for the errors alone.
        sigma: standard deviation of the Gaussian noise that the autoencoder learns to take away; 0.1 in the paper.
        width: channels of the autoencoder's first convolution.
        config: of its training; its seed is that of `fit`.
        val_fraction: share of the clean images on which the errors are scaled.
    """

    temperatures: tuple[float, ...] = (10.0, 40.0)
    sigma: float = 0.1
    width: int = 16
    config: FitConfig = field(default_factory=lambda: FitConfig(epochs=10, lr=3e-3))
    val_fraction: float = 0.2

    fitted: ClassVar[type[FittedDetector]] = FittedMagNet

    def check(self) -> None:
        for temperature in self.temperatures:
            check_number(self, "temperature", temperature, 0, above=True)
        check_number(self, "sigma", self.sigma, 0, 1, above=True)
        check_number(self, "val_fraction", self.val_fraction, 0, 1, above=True)
        check_whole(self, "width", self.width, 1)

    def learn(self, data: DetectorTrainingData) -> dict[str, Any]:
        clean, order = data.clean, data.shuffled()
        kept = max(2, round(self.val_fraction * len(clean)))
        if kept >= len(clean):
            raise InputError(f"MagNet holds out {kept} of {len(clean)} clean images, which leaves none; pass more")
        with seeded(data.seed):
            net = self.network("net", tuple(clean.shape[1:]), None).to(clean)
        config = replace(self.config, seed=data.seed)
        fit_denoiser(Denoiser(net), clean[order[kept:]], sigma=self.sigma, config=config)
        net.requires_grad_(False)
        found = map_batches(
            lambda x: reconstruction_errors(data.required_target, net, self.temperatures, x), clean[order[:kept]]
        )
        scale = found.std(0, correction=0).clamp_min(torch.finfo(found.dtype).eps)
        return {"net": net, "center": found.mean(0), "scale": scale, "temperatures": self.temperatures}

    def network(self, name: str, shape: tuple[int, ...], target: Target[Any] | None) -> nn.Module:
        return Autoencoder(shape[0], self.width)


def reconstruction_errors(
    target: Target[Any], net: nn.Module, temperatures: tuple[float, ...], images: Tensor
) -> Tensor:
    """Return (B, 2 + temperatures) the errors of each image."""
    restored = Denoiser(net).unclipped(images)
    off = (images - restored).flatten(1)
    columns = [off.abs().mean(1), off.square().mean(1)]
    if temperatures:
        ours, theirs = target(images), target(restored)
        columns += [jensen_shannon(ours / t, theirs / t) for t in temperatures]
    return torch.stack(columns, 1)


def jensen_shannon(a: Tensor, b: Tensor) -> Tensor:
    """Return (B,) the Jensen-Shannon divergence of the softmaxes of two logits (B, K), in nats."""
    p, q = a.log_softmax(1), b.log_softmax(1)
    middle = log_sum_exp(torch.stack((p, q)), 0) - math.log(2)
    return 0.5 * (weighted_sum(p, p - middle) + weighted_sum(q, q - middle))
