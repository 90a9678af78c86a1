"""Windows of the Square Attack: pieces of an input that are repainted, and what they are painted with.

On images a window is a square, laid out by flat positions; on other inputs it is what they call a neighbourhood
(`Inputs.window`). Under a mask a window's centre is a site that may move, and what may not move keeps its value.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from ...geometry import rowwise, tiny, unit
from ...geometry.region import Region
from ...inputs import Images
from ...random import Key

DRAWS = 5  # per step: two windows' corners, and the bits of the signs
TILES = 5  # per side of the start in L2


def proposal(region: Region, delta: Tensor, move: Tensor, share: float) -> Tensor:
    """A perturbation that differs from `delta` in a window of this share of the input; `move` (B, DRAWS)."""
    if not isinstance(region.inputs, Images):
        return _anywhere(region, delta, move, share)
    painted = math.isinf(region.ball.p)
    return _painted(region, delta, move, share) if painted else _moved(region, delta, move, share)


def first(key: Key, region: Region) -> Tensor:
    """The perturbation to begin with: stripes in Linf, tiles in L2 and L1; signs where inputs are no images."""
    x, eps = region.x, rowwise(region.eps, region.x)
    if isinstance(region.inputs, Images):
        if not math.isinf(region.ball.p):
            return _tiles(key, region)
        stripes = key.signs("stripes", (x.shape[1], 1, x.shape[3]), dtype=x.dtype)
        return region.project((stripes * eps).expand_as(x))
    signs = region.masked(key.signs("stripes", x.shape[1:], dtype=x.dtype))
    return region.project(signs / rowwise(region.norm(signs), x) * eps)


def _painted(region: Region, delta: Tensor, move: Tensor, share: float) -> Tensor:
    """Algorithm 2: a window at eps or -eps per channel."""
    x = region.x
    _, channels, height, width = x.shape
    side = min(max(round(math.sqrt(share * height * width)), 1), height - 1 or 1, width - 1 or 1)
    window = _window(region, move[:, 0], move[:, 1], side)
    pixels = x.flatten(2).gather(2, window)
    low, high = (b.flatten(2).gather(2, window) if isinstance(b, Tensor) else b for b in region.range)
    colour = (_signs(move[:, 4], channels, x.dtype) * region.eps[:, None])[:, :, None]
    painted = torch.clamp_(pixels + colour, low, high).sub_(pixels)  # type: ignore[arg-type]
    return delta.flatten(2).scatter(2, window, painted).view_as(x)


def _moved(region: Region, delta: Tensor, move: Tensor, share: float) -> Tensor:
    """Algorithm 3: the norm of two windows, and the unused budget, into the first of them."""
    x, eps, power = region.x, region.eps, int(region.ball.p)
    _, channels, height, width = x.shape
    side = max(round(math.sqrt(share * height * width)), 3) // 2 * 2 + 1
    side = min(side, height, width)
    first, second = (_window(region, move[:, i], move[:, i + 1], side) for i in (0, 2))
    flat = delta.flatten(2)
    own = flat.gather(2, first)
    cleared = flat.scatter(2, second, 0.0)
    both = flat.gather(2, second).abs().pow(power).sum(2) + cleared.gather(2, first).abs().pow(power).sum(2)
    left = (eps**power - flat.abs().pow(power).sum((1, 2))).clamp_min(0) / channels
    eta = bump(side, flat.dtype, flat.device)
    lying = ((move[:, 0] ^ move[:, 1]) & 1 == 1)[:, None]
    shape = torch.where(lying, eta.flatten(), eta.T.flatten())[:, None]
    shape = shape if power == 2 else _unit(shape, power)
    fresh = shape * _signs(move[:, 4], channels, flat.dtype)[:, :, None] + _unit(own, power)
    if region.free is not None:
        fresh = fresh.where(region.free.flatten(2).gather(2, first), 0)
    fresh = _unit(fresh, power) * (left[:, None] + both).pow(1 / power)[:, :, None]
    trial = cleared.scatter(2, first, fresh).view_as(x)
    return region.project(trial * rowwise(eps / region.norm(trial).clamp_min(tiny(trial)), trial))


def _anywhere(region: Region, delta: Tensor, move: Tensor, share: float) -> Tensor:
    """The same on inputs of any kind: one sign per channel into the sites of a neighbourhood."""
    x, inputs, eps = region.x, region.inputs, rowwise(region.eps, region.x)
    sites, channels = inputs.per_site(x).shape[1:]
    here, there = (
        inputs.from_sites(inputs.window(x, _site(region, move[:, i], sites), share)[:, :, None], x) for i in (0, 2)
    )
    fresh = inputs.from_sites(_signs(move[:, 4], channels, x.dtype)[:, None].expand(-1, sites, -1), x)
    if math.isinf(region.ball.p):
        return region.project(torch.where(here, fresh * eps, delta))
    rest = delta.masked_fill(here | there, 0)
    power = region.ball.p
    left = (region.eps**power - region.norm(rest) ** power).clamp_min(0) ** (1 / power)
    shape = region.masked(_scaled(region, fresh * here) + _scaled(region, delta * here))
    trial = rest + _scaled(region, shape) * rowwise(left, x)
    return region.project(trial * eps / rowwise(region.norm(trial).clamp_min(tiny(x)), x))


def _scaled(region: Region, values: Tensor) -> Tensor:
    """The values (B, ...) at norm 1; zero stays zero."""
    return values / rowwise(region.norm(values).clamp_min(tiny(values)), values)


def _site(region: Region, draw: Tensor, count: int) -> Tensor:
    """(B,) int64: one of the sites, from a draw in [0, 2^31); under a mask one of those that may move."""
    if region.free is None:
        return (draw * count) >> 31
    earlier = region.inputs.per_site(region.free).any(2).cumsum(1)
    place = ((draw * earlier[:, -1]) >> 31) + 1
    return torch.searchsorted(earlier, place[:, None]).squeeze(1)


def _unit(window: Tensor, power: int) -> Tensor:
    """(B, C, n) scaled to norm 1 (L1 or L2) per channel; zero stays zero."""
    norm: Tensor = torch.linalg.vector_norm(window, power, dim=2, keepdim=True)
    return window / norm.clamp_min(tiny(window))


def _window(region: Region, top: Tensor, left: Tensor, side: int) -> Tensor:
    """(B, C, side^2) flat positions of a square per row, its corner from two draws in [0, 2^31)."""
    _, channels, height, width = region.x.shape
    if region.free is None:
        high, across = (top * (height - side + 1)) >> 31, (left * (width - side + 1)) >> 31
    else:
        centre = _site(region, top, height * width)
        high = (centre // width - side // 2).clamp(0, height - side)
        across = (centre % width - side // 2).clamp(0, width - side)
    steps = torch.arange(side, device=region.x.device)
    square = (steps[:, None] * width + steps).flatten()
    return ((high * width + across)[:, None] + square)[:, None].expand(-1, channels, -1)


def _signs(draw: Tensor, channels: int, dtype: torch.dtype) -> Tensor:
    """(B, C) of -1 and 1 from the bits of one draw."""
    return ((draw[:, None] >> (torch.arange(channels, device=draw.device) % 31)) & 1).to(dtype) * 2 - 1


def _half_bump(height: int, width: int, dtype: torch.dtype) -> Tensor:
    """(height, width): nested rectangles around the middle, each adding 1 / (M + 1 - i)^2, of norm 1."""
    bump = torch.zeros(height, width, dtype=dtype)
    middle, count = (height // 2, width // 2), max(height, width) // 2 + 1
    top, left = middle
    bottom, right = top + 1, left + 1
    for i in range(count):
        bump[max(top, 0) : bottom, max(left, 0) : right] += 1 / (i + 1) ** 2
        top, left, bottom, right = top - 1, left - 1, bottom + 1, right + 1
    return unit(bump[None])[0]


@lru_cache(maxsize=64)
def bump(side: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(side, side): one half up, the other down, of norm 1 (the paper's eta, section 3.3)."""
    half = side // 2
    if half == 0:
        return torch.ones(1, 1, dtype=dtype, device=device)
    both = torch.cat((_half_bump(half, side, dtype), -_half_bump(side - half, side, dtype)))
    return unit(both[None])[0].to(device)


def _tiles(key: Key, region: Region) -> Tensor:
    """The start in L2 and L1: a grid of bumps with random signs, scaled to the sphere."""
    x = region.x
    _, channels, height, width = x.shape
    side = max(min(height, width) // TILES, 1)
    rows, columns = height // side, width // side
    tile = bump(side, x.dtype, x.device)
    signs = key.signs("tiles", (channels, rows, columns), dtype=x.dtype)
    grid = torch.einsum("bcij,kl->bcikjl", signs, tile).reshape(len(x), channels, rows * side, columns * side)
    above, before = (height - rows * side) // 2, (width - columns * side) // 2
    delta = torch.zeros_like(x)
    delta[:, :, above : above + rows * side, before : before + columns * side] = grid
    delta = region.masked(delta)
    return region.project(delta * rowwise(region.eps / region.norm(delta).clamp_min(tiny(x)), delta))
