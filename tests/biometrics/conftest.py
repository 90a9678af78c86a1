"""Synthetic persons: a smooth random pattern for each, seen with noise, and a small net that embeds it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import interpolate

PERSONS, PICTURES, SIDE = 12, 5, 16


def patterns(persons: int = PERSONS, pictures: int = PICTURES, side: int = SIDE) -> Tensor:
    """Pictures (persons, pictures, 3, side, side) in [0, 1]."""
    draws = torch.Generator().manual_seed(7)
    coarse = torch.rand(persons, 3, 4, 4, generator=draws)
    base = interpolate(coarse, (side, side), mode="bilinear")
    noise = 0.16 * torch.randn(persons, pictures, 3, side, side, generator=draws)
    return (0.15 + 0.7 * base[:, None] + noise).clamp(0, 1)


def embedder() -> nn.Module:
    """Faces (B, 3, 16, 16) in [0, 1] to 24 numbers."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(192, 48), nn.Tanh(), nn.Linear(48, 24)).eval()


def save(folder: Path, images: Tensor) -> Path:
    """Write pictures into a sub-folder for each person."""
    for person, shown in enumerate(images):
        place = folder / f"person-{person:02d}"
        place.mkdir(parents=True)
        for number, image in enumerate(shown):
            levels = (image * 255).round().byte().numpy().transpose(1, 2, 0)
            Image.fromarray(np.ascontiguousarray(levels)).save(place / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one sub-folder for each person."""
    return save(tmp_path_factory.mktemp("faces"), patterns())
