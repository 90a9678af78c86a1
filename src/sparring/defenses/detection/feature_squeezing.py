"""Feature squeezing (Xu, Evans & Qi 2017, arXiv:1704.01155, section 5).

    score(x) = max over squeezers s of | softmax(f(x)) - softmax(f(s(x))) |_1

Squeezers are stages, as bit depth and median smoothing. Where one has no gradient, that of its differentiable
approximation is used (BPDA), so that the alarm has one. It needs no adversarial examples; only its threshold is fitted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...errors import ConfigError
from ...random import Key
from ...transforms import Stage, apply_with_bpda
from ..purification.bit_depth import BitDepth
from ..purification.median import Median
from .detector import DetectorEstimator, DetectorTrainingData
from .fitted import FittedDetector


@dataclass(frozen=True, eq=False, kw_only=True)
class FittedSqueezing(FittedDetector):
    """A `FeatureSqueezing` with its target."""

    detector: FeatureSqueezing

    @property
    def stochastic(self) -> bool:
        return any(stage.stochastic for stage in self.squeezers)

    @property
    def squeezers(self) -> tuple[Stage, ...]:
        """Return the squeezers for images with as many channels as those seen in `fit`."""
        return self.detector.stages(self.metadata.shape[0])

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        return (*super().modules, *(module for stage in self.squeezers for module in stage.modules))

    def differentiable_score(self, images: Tensor, key: Key) -> Tensor:
        plain = self._probabilities(images)
        distances = [
            (plain - self._probabilities(apply_with_bpda(stage, images, key.reseeded(number)))).abs().sum(1)
            for number, stage in enumerate(self.squeezers)
        ]
        return torch.stack(distances).amax(0)

    def _probabilities(self, images: Tensor) -> Tensor:
        probabilities: Tensor = self.required_target(images).softmax(1)
        return probabilities

    def identity(self) -> tuple[object, ...]:
        return (*super().identity(), *(word for stage in self.squeezers for word in stage.identity()))


@dataclass(frozen=True)
class FeatureSqueezing(DetectorEstimator):
    """Score an image by how far the model's answers on it and on squeezed versions of it are apart.

    Args:
        squeezers: stages; None: bit depth 1 and a 2 x 2 median on gray images, bit depth 5 and a 2 x 2 median on
            others, as the authors take them for digits and for ImageNet (there beside non-local means).
    """

    squeezers: tuple[Stage, ...] | None = None

    fitted: ClassVar[type[FittedDetector]] = FittedSqueezing

    def check(self) -> None:
        given = self.squeezers
        if given is not None and not (isinstance(given, tuple) and given and all(isinstance(s, Stage) for s in given)):
            raise ConfigError(f"FeatureSqueezing squeezers={given!r:.80}; pass a tuple of stages, as (Median(2),)")

    def learn(self, data: DetectorTrainingData) -> dict[str, Any]:
        _ = self.stages(data.clean.shape[1])
        return {}

    def stages(self, channels: int) -> tuple[Stage, ...]:
        """Return the squeezers for images of so many channels."""
        if self.squeezers is not None:
            return self.squeezers
        return BitDepth(1 if channels == 1 else 5), Median(2)
