"""Training under Gaussian noise, for randomised smoothing (Cohen et al. 2019, arXiv:1902.02918, section 3.3).

    E_z  J(w, x + sigma z),     z standard normal, not clipped

A classifier is certified at the sigma that it was trained with; `sparring.defenses.certification.SmoothedClassifier`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .minibatch import Minibatch, Net
from .objective import Objective, check_field, cross_entropy

STREAM = "smoothing"


@dataclass(frozen=True)
class GaussianAugmentation(Objective):
    """Train on the mean of J(x + sigma z) over m draws.

    Args:
        sigma: standard deviation of the noise, in units of [0, 1].
        m: draws per image and update, each a pass (1 in the paper).

    Raises: ConfigError.
    """

    sigma: float
    m: int = 1

    def __post_init__(self) -> None:
        check_noise(self)

    @property
    def attacks(self) -> tuple[int, int]:
        return 0, 0

    def losses(self, net: Net, batch: Minibatch, examples: tuple[Tensor, ...]) -> Tensor:
        return mean_cross_entropy(noisy_logits(net, batch, batch.images, self.sigma, self.m), batch.labels)


def check_noise(objective: Any, least: int = 1) -> None:
    """Raise ConfigError where its `sigma` is no standard deviation, or its `m` no number of draws from `least`."""
    m = objective.m
    check_field(objective, "sigma", 0 < objective.sigma < math.inf, "a number above 0")
    check_field(objective, "m", isinstance(m, int) and m >= least, f"a whole number from {least}")


def noisy_logits(net: Net, batch: Minibatch, images: Tensor, sigma: float, m: int) -> Tensor:
    """Return (m, B, K) logits of images (B, C, H, W) with noise, in one pass of m B images."""
    shape = images.shape[1:]
    noise = [batch.key.normal(STREAM, shape, step, images.dtype) for step in range(m)]
    noisy = torch.cat([images + sigma * draw for draw in noise])
    return net(noisy).view(m, len(images), -1)


def mean_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return (B,) the mean over m draws of the cross-entropy of logits (m, B, K)."""
    return torch.stack([cross_entropy(one, labels) for one in logits]).mean(0)
