"""The network of the zoo's MNIST models: two strided convolutions and two linear layers.

    conv 16 4x4/2 - relu - conv 32 4x4/2 - relu - linear 1568-100 - relu - linear 100-10

The small MNIST architecture of Wong & Kolter 2018 (arXiv:1711.00851), 166,406 weights; `zoo:mnist-robust-linf` is
twice as wide, and the nets of certified training have a batch norm before each ReLU. Input (B, 1, 28, 28) in [0, 1],
taken as it is.
"""

from __future__ import annotations

from torch import Tensor, nn


class MnistNet(nn.Module):
    """The network: images (B, 1, 28, 28) in [0, 1] -> logits (B, 10)."""

    def __init__(self, channels: int = 16, hidden: int = 100, *, norm: bool = False) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, channels, 4, stride=2, padding=1),
            *([nn.BatchNorm2d(channels)] if norm else []),
            nn.ReLU(),
            nn.Conv2d(channels, 2 * channels, 4, stride=2, padding=1),
            *([nn.BatchNorm2d(2 * channels)] if norm else []),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(2 * channels * 7 * 7, hidden),
            *([nn.BatchNorm1d(hidden)] if norm else []),
            nn.ReLU(),
            nn.Linear(hidden, 10),
        )

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers(images)
        return logits
