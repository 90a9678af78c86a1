"""Colour filters before a sensor (Bayer 1976): each pixel sees one colour, and the others are interpolated.

Bilinear interpolation takes the mean of the nearest pixels of a colour. Malvar, He & Cutler 2004 (ICASSP) add how
far the pixel's own colour differs from the mean of its neighbours. The border is mirrored.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from ...random import Key
from ..colour import Light
from ..stage import PhysicalStage, check_choice, check_images

# rows of 5 x 5 kernels, times 8: green at red or blue; red at green beside red; red at green below red; red at blue
BILINEAR = (
    ((0, 0, 0, 0, 0), (0, 0, 2, 0, 0), (0, 2, 0, 2, 0), (0, 0, 2, 0, 0), (0, 0, 0, 0, 0)),
    ((0, 0, 0, 0, 0), (0, 0, 0, 0, 0), (0, 4, 0, 4, 0), (0, 0, 0, 0, 0), (0, 0, 0, 0, 0)),
    ((0, 0, 0, 0, 0), (0, 0, 4, 0, 0), (0, 0, 0, 0, 0), (0, 0, 4, 0, 0), (0, 0, 0, 0, 0)),
    ((0, 0, 0, 0, 0), (0, 2, 0, 2, 0), (0, 0, 0, 0, 0), (0, 2, 0, 2, 0), (0, 0, 0, 0, 0)),
)
MALVAR = (
    ((0, 0, -1, 0, 0), (0, 0, 2, 0, 0), (-1, 2, 4, 2, -1), (0, 0, 2, 0, 0), (0, 0, -1, 0, 0)),
    ((0, 0, 0.5, 0, 0), (0, -1, 0, -1, 0), (-1, 4, 5, 4, -1), (0, -1, 0, -1, 0), (0, 0, 0.5, 0, 0)),
    ((0, 0, -1, 0, 0), (0, -1, 4, -1, 0), (0.5, 0, 5, 0, 0.5), (0, -1, 4, -1, 0), (0, 0, -1, 0, 0)),
    ((0, 0, -1.5, 0, 0), (0, 2, 0, 2, 0), (-1.5, 0, 6, 0, -1.5), (0, 2, 0, 2, 0), (0, 0, -1.5, 0, 0)),
)
METHODS = {"bilinear": BILINEAR, "malvar": MALVAR}


@dataclass(frozen=True)
class Phase:
    """Row and column (B, 2), 0 or 1, of the first red pixel."""

    corner: Tensor


@dataclass(frozen=True, kw_only=True)
class BayerMosaic(PhysicalStage[Phase]):
    """Images (B, 3, H, W) in linear light through colour filters, and demosaiced.

    Args:
        method: "bilinear" or "malvar".

    Below severity 1 the result is that share of the way from the image to it; above, it is as at 1.
    """

    light = Light.LINEAR
    family: str = "held-out"
    method: str = "malvar"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self, "method", self.method, METHODS)

    @property
    def stochastic(self) -> bool:
        return self.severity > 0

    def sample(self, key: Key, like: Tensor, context: object = None) -> Phase:
        return Phase(key.integers("phase", (2,), 2))

    def apply_parameters(self, x: Tensor, parameters: Phase, context: object = None) -> Tensor:
        check_images(x, self.name, (3,))
        made = demosaiced(x, parameters.corner, METHODS[self.method])
        return made if self.severity >= 1 else x + self.severity * (made - x)


def demosaiced(x: Tensor, corner: Tensor, kernels: tuple[tuple[tuple[float, ...], ...], ...]) -> Tensor:
    """Return images (B, 3, H, W) of which each pixel kept one colour; the first red one at `corner` (B, 2)."""
    red_rows = (torch.arange(x.shape[2], device=x.device) - corner[:, :1]) % 2 == 0
    red_columns = (torch.arange(x.shape[3], device=x.device) - corner[:, 1:]) % 2 == 0
    rows, columns = red_rows[:, None, :, None], red_columns[:, None, None]
    red, beside, below, blue = rows & columns, rows & ~columns, ~rows & columns, ~rows & ~columns
    raw = torch.where(red, x[:, :1], torch.where(blue, x[:, 2:], x[:, 1:2]))
    wide = pad(raw, (2, 2, 2, 2), mode="reflect" if min(x.shape[2:]) > 2 else "replicate")
    green, level, upright, crossed = conv2d(wide, x.new_tensor(kernels)[:, None] / 8).chunk(4, 1)
    return torch.cat(
        (
            torch.where(red, raw, torch.where(beside, level, torch.where(below, upright, crossed))),
            torch.where(red | blue, green, raw),
            torch.where(blue, raw, torch.where(below, level, torch.where(beside, upright, crossed))),
        ),
        1,
    )
