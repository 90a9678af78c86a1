"""Noise added to the image, drawn anew for each query.

x -> x + sigma z,   z standard normal, or uniform with standard deviation 1
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from ...errors import ConfigError
from ...random import Key
from ...transforms import Stage
from ..parameters import check_number

KINDS = ("normal", "uniform")


@dataclass(frozen=True)
class InputNoise(Stage):
    """Add noise to each pixel of each channel of images (B, C, H, W).

    Args:
        sigma: the noise's standard deviation, in units of [0, 1], of either kind: "uniform" reaches to sqrt(3) sigma.
        kind: "normal" or "uniform".
        clip: back into [0, 1]; off by default, as a model that learned from noisy images saw them unclipped.

    Raises: ConfigError.
    """

    sigma: float
    kind: str = "normal"
    clip: bool = False

    def __post_init__(self) -> None:
        check_number(self, "sigma", self.sigma, 0, above=True)
        if self.kind not in KINDS:
            raise ConfigError(f"InputNoise kind={self.kind!r}; pass one of {', '.join(KINDS)}")
        if not isinstance(self.clip, bool):
            raise ConfigError(f"InputNoise clip={self.clip!r}; pass True or False")

    @property
    def stochastic(self) -> bool:
        return True

    def __call__(self, images: Tensor, key: Key) -> Tensor:
        noisy = images + self.sigma * self._standard(images, key)
        return noisy.clamp(0, 1) if self.clip else noisy

    def _standard(self, images: Tensor, key: Key) -> Tensor:
        """(B, C, H, W) of mean 0 and variance 1."""
        if self.kind == "normal":
            return key.normal("input noise", images.shape[1:], dtype=images.dtype)
        return (2 * key.uniform("input noise", images.shape[1:], dtype=images.dtype) - 1) * math.sqrt(3)
