"""The network behind `zoo:mnist-plain`: two strided convolutions and two linear layers, 166,406 weights.

    conv 16 4x4/2 - relu - conv 32 4x4/2 - relu - linear 1568-100 - relu - linear 100-10

The small MNIST architecture of Wong & Kolter 2018 (arXiv:1711.00851). Input (B, 1, 28, 28) in [0, 1], taken
as it is; `scripts/train_mnist_plain.py` made the weights.
"""

from __future__ import annotations

from torch import Tensor, nn


class MnistNet(nn.Module):
    """Images (B, 1, 28, 28) in [0, 1] -> logits (B, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * 7 * 7, 100),
            nn.ReLU(),
            nn.Linear(100, 10),
        )

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers(images)
        return logits
