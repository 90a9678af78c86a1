"""The perturbation that the Square Attack starts from."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...geometry import rowwise
from ...geometry.region import Region
from ...inputs import Images
from ...random import Key
from .square_window import eta, onto_sphere

TILES = 5  # per side of the grid in L2 and L1


def initial_perturbation(key: Key, region: Region) -> Tensor:
    """Return the start (B, ...): stripes in Linf, tiles in L2 and L1; random signs where inputs are no images."""
    x = region.x
    if isinstance(region.inputs, Images):
        if not math.isinf(region.ball.p):
            return _tiles(key, region)
        stripes = key.signs("stripes", (x.shape[1], 1, x.shape[3]), dtype=x.dtype)
        return region.project((stripes * rowwise(region.eps, x)).expand_as(x))
    return onto_sphere(region, region.masked(key.signs("stripes", x.shape[1:], dtype=x.dtype)))


def _tiles(key: Key, region: Region) -> Tensor:
    """A grid of patterns with random signs (B, C, H, W), scaled to the sphere."""
    x = region.x
    _, channels, height, width = x.shape
    side = max(min(height, width) // TILES, 1)
    rows, columns = height // side, width // side
    signs = key.signs("tiles", (channels, rows, columns), dtype=x.dtype)
    grid = torch.einsum("bcij,kl->bcikjl", signs, eta(side, x.dtype, x.device))
    grid = grid.reshape(len(x), channels, rows * side, columns * side)
    above, before = (height - rows * side) // 2, (width - columns * side) // 2
    delta = torch.zeros_like(x)
    delta[:, :, above : above + rows * side, before : before + columns * side] = grid
    return onto_sphere(region, region.masked(delta))
