"""SHA-256 of files and of images, and the mark of what has none."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Unidentified:
    """The entry in an identity for what nothing tells apart from others, as a function without one.

    Args:
        name: what it is.
        kind: of what kind it is.
        cure: what gives it an identity.
    """

    name: str
    kind: str = "a function"
    cure: str = "pass Classifier(function, identity='a name of this version')"


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal; OSError where it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def image_sha256(image: Tensor) -> str:
    """Return the SHA-256 of an image's float32 values in their order, in hexadecimal."""
    values = image.detach().cpu().float().contiguous().reshape(-1).numpy()
    return hashlib.sha256(values.view("uint8").data).hexdigest()
