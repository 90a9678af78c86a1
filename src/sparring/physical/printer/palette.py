"""A printer that has a few colours only, as those that were measured on a printed sheet."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor

from ...access.parameters import PositiveFloat
from ...errors import ConfigError
from ...random import Key
from ..stage import check_images
from .printer import Printer


@dataclass(frozen=True)
class Unvaried:
    """The parameters of a printer that has none."""


@dataclass(frozen=True, kw_only=True)
class PalettePrinter(Printer[Unvaried]):
    """Artifacts (B, C, h, w) in the colours of a palette: each pixel a mean of them, weighted by exp(-distance^2 /
    T^2).

    The smaller the temperature T, the nearer to the nearest colour, and the rarer a gradient. Below severity 1 the
    result is that share of the way to it. (Sharif et al. 2016 round to thirty printed colours after each step of the
    attack.)

    Args:
        colours: (K, C) in sRGB.
        temperature: T, a distance of colours.
    """

    family: str = "palette"
    colours: Tensor = field(repr=False)
    temperature: PositiveFloat = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        given: Any = self.colours
        if not isinstance(given, Tensor) or given.ndim != 2 or given.shape[1] not in (1, 3) or not len(given):
            raise ConfigError(f"PalettePrinter colours={given!r:.80}; pass colours (K, 3) in [0, 1]")

    def sample(self, key: Key, like: Tensor, context: object = None) -> Unvaried:
        return Unvaried()

    def apply_parameters(self, x: Tensor, parameters: Unvaried, context: object = None) -> Tensor:
        colours = self.colours.to(x)
        check_images(x, self.name, (colours.shape[1],))
        pixels = x.flatten(2).mT
        apart = torch.cdist(pixels, colours, compute_mode="donot_use_mm_for_euclid_dist").square()
        printed = ((-apart / self.temperature**2).softmax(2) @ colours).mT.view_as(x)
        return x + min(self.severity, 1.0) * (printed - x)

    def _steady(self) -> Self:
        return self
