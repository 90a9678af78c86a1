"""A binary network on images (Gong, Wang & Ku 2017, arXiv:1704.04960, section 3).

    score(x) = logit of g(x),  g trained by cross-entropy on clean images (0) and adversarial ones (1)

Departure: three convolutions and a mean over places, so that images of any size will do; the authors' g has the
architecture of their classifier for digits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...random import Key
from ...targets import Target
from ..fitting import FitConfig
from ..parameters import check_whole
from .detector import DetectorEstimator, DetectorTrainingData
from .fitted import FittedDetector
from .learning import seeded, train_network
from .nets import ConvDetectorNet


@dataclass(frozen=True, eq=False, kw_only=True)
class FittedInput(FittedDetector):
    """An `InputDetector` that has learned."""

    net: nn.Module

    def differentiable_score(self, images: Tensor, key: Key) -> Tensor:
        logit: Tensor = self.net(images.to(next(self.net.parameters()).dtype))
        return logit


@dataclass(frozen=True)
class InputDetector(DetectorEstimator):
    """Train a binary network on images alone; it needs adversarial examples and no target.

    Args:
        width: channels of the first convolution; the others have twice as many.
        config: of its training; its seed is that of `fit`.
    """

    width: int = 16
    config: FitConfig = field(default_factory=lambda: FitConfig(epochs=10))

    needs_adversarial: ClassVar[bool] = True
    needs_target: ClassVar[bool] = False
    fitted: ClassVar[type[FittedDetector]] = FittedInput

    def check(self) -> None:
        check_whole(self, "width", self.width, 1)

    def learn(self, data: DetectorTrainingData) -> dict[str, Any]:
        with seeded(data.seed):
            net = self.network("net", tuple(data.clean.shape[1:]), None).to(data.clean)
        return {"net": train_binary_detector(net, data.negatives, data.required_adversarial, self.config, data.seed)}

    def network(self, name: str, shape: tuple[int, ...], target: Target[Any] | None) -> nn.Module:
        return ConvDetectorNet(shape[0], self.width)


def train_binary_detector(
    net: nn.Module, negatives: Tensor, adversarial: Tensor, config: FitConfig, seed: int
) -> nn.Module:
    """Train the network: low logits for negatives tensors (N, ...), high ones for adversarial (M, ...); return it.

    Both sides weigh the same, whatever their numbers.
    """
    both = torch.cat((negatives, adversarial))
    labels = torch.cat((negatives.new_zeros(len(negatives)), negatives.new_ones(len(adversarial))))
    heavier = torch.as_tensor(len(negatives) / len(adversarial)).to(both)

    def loss(x: Tensor, y: Tensor) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(net(x), y, reduction="none", pos_weight=heavier)

    return train_network(net, loss, config, seed, both, labels)
