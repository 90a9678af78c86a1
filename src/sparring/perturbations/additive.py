"""The sum of an input and a perturbation."""

from __future__ import annotations

from dataclasses import dataclass

from ..shapes import FloatBatch


@dataclass(frozen=True)
class Additive:
    """The map delta -> x + delta, for inputs `x` (B, ...)."""

    x: FloatBatch

    def __call__(self, delta: FloatBatch) -> FloatBatch:
        """Return x + delta (B, ...)."""
        return self.x + delta
