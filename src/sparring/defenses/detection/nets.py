"""The small networks that detectors train."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class ConvDetectorNet(nn.Module):
    """Three convolutions and a mean over places: images or feature maps (B, C, H, W) of any size -> one logit (B,)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(2 * width, 2 * width, 3, stride=2, padding=1), nn.ReLU(),
        )  # fmt: skip
        self.last = nn.Linear(2 * width, 1)

    def forward(self, images: Tensor) -> Tensor:
        logit: Tensor = self.last(self.layers(images).mean((2, 3)))
        return logit.squeeze(1)


class VectorDetectorNet(nn.Module):
    """Two hidden layers: features (B, F) -> one logit (B,)."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.last = nn.Linear(width, 1)

    def forward(self, features: Tensor) -> Tensor:
        logit: Tensor = self.last(self.layers(features))
        return logit.squeeze(1)


class Autoencoder(nn.Module):
    """Images (B, C, H, W) -> images of the same shape, not yet clipped, through a map of half their sides.

    No sigmoid at the end: on images that are mostly black it saturates early, and the net gives black ones for ever.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.ReLU())
        self.inside = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU()
        )
        self.up = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, channels, 3, padding=1)
        )

    def forward(self, images: Tensor) -> Tensor:
        small = self.inside(F.avg_pool2d(self.down(images), 2, ceil_mode=True))
        restored: Tensor = self.up(F.interpolate(small, size=images.shape[2:], mode="nearest"))
        return restored
