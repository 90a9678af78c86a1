"""The additive parametrisation: image plus perturbation."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Additive:
    """x + delta, for images `x` (B, C, H, W)."""

    x: Tensor

    def __call__(self, delta: Tensor) -> Tensor:
        return self.x + delta
