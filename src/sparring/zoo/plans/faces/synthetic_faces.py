"""Synthetic persons for a quick audit of faces: a smooth random pattern for each, seen with noise, and a small network.

A file as a user writes it: `pictures` returns pictures and whom they show, `embedder` the network.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

PERSONS, PICTURES, SIDE = 14, 5, 16


def pictures() -> tuple[Tensor, Tensor]:
    """Return pictures (70, 3, 16, 16) in [0, 1], and the number of the person in each."""
    draws = torch.Generator().manual_seed(7)
    base = interpolate(torch.rand(PERSONS, 3, 4, 4, generator=draws), (SIDE, SIDE), mode="bilinear")
    noise = 0.1 * torch.randn(PERSONS, PICTURES, 3, SIDE, SIDE, generator=draws)
    shown = (0.15 + 0.7 * base[:, None] + noise).clamp(0, 1)
    return shown.flatten(0, 1), torch.arange(PERSONS).repeat_interleave(PICTURES)


def embedder() -> nn.Module:
    """Return a network from faces (B, 3, 16, 16) to 24 numbers."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        layers = nn.AvgPool2d(2), nn.Flatten(), nn.Linear(192, 48), nn.Tanh(), nn.Linear(48, 24, bias=False)
        return nn.Sequential(Centered(), *layers).eval()


class Centered(nn.Module):
    """Pictures around 0, so that embeddings of two persons point in different directions."""

    def forward(self, faces: Tensor) -> Tensor:
        """Return faces (B, 3, H, W) without their mean, five times as bright."""
        centered: Tensor = 5 * (faces - faces.mean((2, 3), keepdim=True))
        return centered
