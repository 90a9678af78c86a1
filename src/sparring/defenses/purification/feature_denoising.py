"""Feature denoising (Xie et al. 2018, arXiv:1812.03411, section 4): blocks to put into a network that is then trained.

    y = x + W denoise(x),          W a 1 x 1 convolution, 0 at first: a new block is the identity

    gaussian   softmax_j(theta(x_i) . phi(x_j) / sqrt(d)) x_j, summed over all places j; theta, phi 1 x 1 convolutions
    dot        (x_i . x_j) x_j / N, summed over all N places
    mean       mean of the 3 x 3 features around
    median     median of the 3 x 3 features around, channel by channel

Departure: no batch norm behind W, whose scale the paper starts at 0; here W itself starts at 0. Edges are mirrored.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import ConfigError, InputError
from ..parameters import check_whole
from .padding import mirror_pad, windows

KINDS = ("gaussian", "dot", "mean", "median")


class FeatureDenoising(nn.Module):
    """Denoise features (B, channels, H, W), and add them to the features: a block of a network.

    Args:
        channels: of the features.
        kind: "gaussian" (the paper's best), "dot", "mean" or "median".
        embedding: d, channels of theta and phi, of "gaussian"; None: half of them.

    Raises: ConfigError; InputError for features of other channels.
    """

    def __init__(self, channels: int, kind: str = "gaussian", embedding: int | None = None) -> None:
        super().__init__()
        check_whole(self, "channels", channels, 1)
        if kind not in KINDS:
            raise ConfigError(f"FeatureDenoising kind={kind!r}; pass one of {', '.join(KINDS)}")
        self.channels, self.kind = channels, kind
        if kind == "gaussian":
            inner = max(1, channels // 2) if embedding is None else embedding
            check_whole(self, "embedding", inner, 1)
            self.theta, self.phi = (nn.Conv2d(channels, inner, 1, bias=False) for _ in range(2))
        self.last = nn.Conv2d(channels, channels, 1, bias=False)
        nn.init.zeros_(self.last.weight)

    def forward(self, features: Tensor) -> Tensor:
        if features.ndim != 4 or features.shape[1] != self.channels:
            raise InputError(f"the block denoises (B, {self.channels}, H, W), and got {tuple(features.shape)}")
        moved: Tensor = features + self.last(self.denoised(features))
        return moved

    def denoised(self, features: Tensor) -> Tensor:
        """Return the denoised features (B, channels, H, W), which W is applied to."""
        if self.kind == "mean":
            return F.avg_pool2d(mirror_pad(features, 1, 1), 3, 1)
        if self.kind == "median":
            return windows(features, 3).median(4).values
        places = features.flatten(2).transpose(1, 2)  # (B, N, channels)
        if self.kind == "dot":
            mixed = places @ (places.transpose(1, 2) @ places) / places.shape[1]  # the N x N products are never held
        else:
            theta, phi = (layer(features).flatten(2).transpose(1, 2) for layer in (self.theta, self.phi))
            mixed = F.scaled_dot_product_attention(theta, phi, places)
        return mixed.transpose(1, 2).view_as(features)
