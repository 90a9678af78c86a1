"""Assets that tests need, and small picture files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sparring.errors import AssetError
from sparring.zoo import assets


@pytest.fixture(scope="session")
def asset() -> Callable[[str], Path]:
    """The folder of an asset; skips, with the command that brings it, when it is not here."""

    def find(name: str) -> Path:
        try:
            return assets.locate_asset(name)
        except AssetError:
            pytest.skip(f"needs {name}: run 'make assets'")

    return find


@pytest.fixture
def picture() -> Callable[..., Path]:
    """Writes a picture of one color and returns its path."""

    def write(path: Path, size: tuple[int, int] = (40, 30), color: object = (200, 100, 50)) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, color).save(path)
        return path

    return write


@pytest.fixture
def ramp() -> np.ndarray:
    """(30, 40, 3) uint8 whose pixels all differ."""
    return np.arange(30 * 40 * 3, dtype=np.uint32).reshape(30, 40, 3).astype(np.uint8)
