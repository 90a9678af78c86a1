"""A classifier with an extra class for adversarial images (Grosse et al. 2017, arXiv:1702.06280, section 6).

    score(x) = z_{K+1}(x) - max_{k <= K} z_k(x)

A net of K + 1 classes learns the clean images with their classes and adversarial ones as class K + 1. It classifies
too: `FittedExtraClass.classifier` returns its first K logits, and is the classifier to be protected.

Departures: the net begins with the target's weights and a new row in its last linear layer; an image is rejected by a
threshold on the score, not where class K + 1 merely leads.
"""

from __future__ import annotations

from copy import copy, deepcopy
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...batching import map_batches
from ...errors import TargetError
from ...random import Key
from ...targets import Classifier, Target
from ..fitting import FitConfig
from .activations import inner_module, last_linear
from .detector import DetectorEstimator, DetectorTrainingData
from .fitted import FittedDetector
from .learning import seeded, train_network


class FirstClasses(nn.Module):
    """A network that returns the first `classes` logits of another."""

    def __init__(self, net: nn.Module, classes: int) -> None:
        super().__init__()
        self.net, self.classes = net, classes

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.net(images)
        return logits[:, : self.classes]


@dataclass(frozen=True, eq=False, kw_only=True)
class FittedExtraClass(FittedDetector):
    """A fitted `ExtraClass`: the network of K + 1 classes."""

    net: nn.Module
    classes: int  # without the extra one

    def differentiable_score(self, images: Tensor, key: Key) -> Tensor:
        logits = with_network(self.required_target, self.net)(images)
        return logits[:, self.classes] - logits[:, : self.classes].amax(1)

    @property
    def classifier(self) -> Classifier:
        """Return the classifier that was trained together with the detector, for `Defended` to protect."""
        return with_network(self.required_target, FirstClasses(self.net, self.classes))


@dataclass(frozen=True)
class ExtraClass(DetectorEstimator):
    """Train a classifier that has one class more, for adversarial images.

    Args:
        config: of the training; 3 epochs, since the net begins with the target's weights. Its seed is that of `fit`.
    """

    config: FitConfig = field(default_factory=lambda: FitConfig(epochs=3))

    needs_adversarial: ClassVar[bool] = True
    fitted: ClassVar[type[FittedDetector]] = FittedExtraClass

    def learn(self, data: DetectorTrainingData) -> dict[str, Any]:
        target, labels = data.required_target, data.clean_labels()
        with seeded(data.seed):
            net = self.network("net", tuple(data.clean.shape[1:]), target)
        copied, classes = with_network(target, net), target(data.clean[:1]).shape[1]
        widened = copied(data.clean[:1])
        if widened.shape[1] != classes + 1 or not bool(widened[0, -1].isfinite()):
            raise TargetError(
                f"{target.name} changes its logits behind the last layer, so that the class that ExtraClass adds is "
                "not the last one; use another detector"
            )
        if data.noisy is not None:
            labels = torch.cat((labels, map_batches(lambda x: target(x).argmax(1), data.noisy)))
        images = torch.cat((data.negatives, data.required_adversarial))
        labels = torch.cat((labels, labels.new_full((len(data.required_adversarial),), classes)))

        def loss(x: Tensor, y: Tensor) -> Tensor:
            return F.cross_entropy(copied(x), y, reduction="none")

        return {"net": train_network(net, loss, self.config, data.seed, images, labels), "classes": classes}

    def network(self, name: str, shape: tuple[int, ...], target: Target[Any] | None) -> nn.Module:
        """Return the target's network with one output more in the linear layer that is called last."""
        assert target is not None
        last = last_linear(target, torch.zeros(1, *shape, device=target.device))
        if isinstance(target, Classifier) and (target.binary or target.probabilities):
            raise TargetError(f"{target.name} gives no logit per class, and ExtraClass adds one; use another detector")
        net = deepcopy(inner_module(target)).requires_grad_(True)
        old = net.get_submodule(last)
        assert isinstance(old, nn.Linear)
        net.set_submodule(last, add_output(old))
        return net


def add_output(old: nn.Linear) -> nn.Linear:
    """Return a copy of the linear layer with one output more."""
    new = nn.Linear(old.in_features, old.out_features + 1).to(old.weight)
    with torch.no_grad():
        new.weight[:-1] = old.weight
        new.bias[:-1] = 0 if old.bias is None else old.bias
    return new


def with_network(target: Target[Any], net: nn.Module) -> Classifier:
    """Return a copy of the target around another network."""
    assert isinstance(target, Classifier)
    copied = copy(target)
    copied.model, copied.classes = net, None
    return copied
