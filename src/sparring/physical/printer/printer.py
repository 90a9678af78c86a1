"""The base class of printers, and the palette of what a printer can print."""

from __future__ import annotations

from abc import abstractmethod
from typing import Self, TypeVar

import torch
from torch import Tensor

from ...random import Key
from ..stage import PhysicalStage

P = TypeVar("P")


class Printer(PhysicalStage[P]):
    """Base class of printers: artifacts (B, C, h, w) as they are sent to it -> as they look on paper, in sRGB."""

    def palette(self, levels: int = 6, channels: int = 3) -> Tensor:
        """Return (levels ** channels, channels): what the printer, without random deviations, makes of a grid of
        colours.

        Colours from black to white, evenly spaced in each channel: what `non_printability` measures distances to.
        """
        steps = torch.linspace(0, 1, levels)
        grid = torch.cartesian_prod(*[steps] * channels).view(-1, channels, 1, 1)
        return self.apply_parameters(grid, self.typical(grid)).flatten(1)

    def typical(self, like: Tensor) -> P:
        """Return the parameters, one row per image, from which the random ones deviate."""
        key = Key(torch.arange(len(like), device=like.device), 0)
        steady: Printer[P] = self._steady()
        return steady.sample(key, like)

    @abstractmethod
    def _steady(self) -> Self:
        """Return this printer without its random deviations."""
