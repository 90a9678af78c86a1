"""A binary network on a hidden layer of the model (Metzen et al. 2017, arXiv:1702.04267, section 3.2).

    score(x) = logit of g(h(x)),  h the model up to one layer, held fixed; g trained on clean and adversarial images

Departures: g has three convolutions and a mean over places (two hidden layers on a layer of rank 2). It learns from
adversarial examples that are made beforehand: the static detector of section 3.3, not the dynamic one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...batching import map_batches
from ...random import Key
from ...targets import Target
from ..fitting import FitConfig
from ..parameters import check_whole
from .activations import activations, default_layers, select_layers, unreduced
from .detector import DetectorEstimator, DetectorTrainingData
from .fitted import FittedDetector
from .input_detector import train_binary_detector
from .learning import seeded
from .nets import ConvDetectorNet, VectorDetectorNet


@dataclass(frozen=True, eq=False, kw_only=True)
class FittedFeature(FittedDetector):
    """A `FeatureDetector` that has learned."""

    layer: str
    net: nn.Module

    def differentiable_score(self, images: Tensor, key: Key) -> Tensor:
        logit: Tensor = self.net(activation_at(self.required_target, images, self.layer))
        return logit


@dataclass(frozen=True)
class FeatureDetector(DetectorEstimator):
    """Train a binary network on one hidden layer's activations of the model.

    Args:
        layer: the name of a layer with an output of rank 2 or 4; None: the middle one of those that are read by default
            (`activations.leaves`).
        width: channels of its first convolution.
        config: of its training; its seed is that of `fit`.
    """

    layer: str | None = None
    width: int = 16
    config: FitConfig = field(default_factory=lambda: FitConfig(epochs=10))

    needs_adversarial: ClassVar[bool] = True
    fitted: ClassVar[type[FittedDetector]] = FittedFeature

    def check(self) -> None:
        check_whole(self, "width", self.width, 1)

    def learn(self, data: DetectorTrainingData) -> dict[str, Any]:
        layer = self.named(data.required_target, data.clean)
        negatives, examples = (
            map_batches(lambda x: activation_at(data.required_target, x, layer), images)
            for images in (data.negatives, data.required_adversarial)
        )
        with seeded(data.seed):
            net = self.make_net(negatives).to(negatives)
        return {"layer": layer, "net": train_binary_detector(net, negatives, examples, self.config, data.seed)}

    def named(self, target: Target[Any], images: Tensor) -> str:
        """Return the name of the layer that is read."""
        known = default_layers(target, images)
        return known[len(known) // 2] if self.layer is None else select_layers(target, (self.layer,), images)[0]

    def make_net(self, features: Tensor) -> nn.Module:
        """Return a blank network for activations of that shape."""
        if features.ndim == 4:
            return ConvDetectorNet(features.shape[1], self.width)
        return VectorDetectorNet(features.shape[1], 4 * self.width)

    def network(self, name: str, shape: tuple[int, ...], target: Target[Any] | None) -> nn.Module:
        assert target is not None
        image = torch.zeros(1, *shape, device=target.device)
        with torch.no_grad(), target.frozen():
            return self.make_net(activation_at(target, image, self.named(target, image)))


def activation_at(target: Target[Any], images: Tensor, layer: str) -> Tensor:
    """Return the layer's output (B, ...), unreduced."""
    return activations(target, images, (layer,), unreduced)[1][0]
