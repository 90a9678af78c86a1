"""How much is measured, and on what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    device: str
    images: int
    steps: int
    batch_size: int
    runs: Path  # nets that were trained
