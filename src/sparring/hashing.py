"""SHA-256 of files and of images."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal; OSError where it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def image_sha256(image: Tensor) -> str:
    """Return the SHA-256 of an image's float32 values in their order, in hexadecimal."""
    values = image.detach().cpu().float().contiguous().reshape(-1).numpy()
    return hashlib.sha256(values.view("uint8").data).hexdigest()
