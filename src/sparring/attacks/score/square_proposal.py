"""Proposals of the Square Attack: a perturbation that differs from the present one in a window.

On images a window is a square; on other inputs it is what they call a neighbourhood (`Inputs.window`). Under a mask a
window's centre is a site that may move, and what may not move keeps its value.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...geometry import rowwise, tiny
from ...geometry.region import Region
from ...inputs import Images
from .square_window import draw_signs, draw_site, eta, onto_sphere, square_window

DRAWS = 5  # per step: two windows' corners, and the bits of the signs


def propose(region: Region, delta: Tensor, draws: Tensor, p: float) -> Tensor:
    """Return a perturbation (B, ...) that differs from `delta` in a window of the share p of the input.

    Args:
        delta: (B, ...) the present perturbation.
        draws: (B, DRAWS) int64 in [0, 2^31).
        p: the window's share of the input.
    """
    if not isinstance(region.inputs, Images):
        return _propose_neighbourhood(region, delta, draws, p)
    propose_square = _propose_linf if math.isinf(region.ball.p) else _propose_lp
    return propose_square(region, delta, draws, p)


def _propose_linf(region: Region, delta: Tensor, draws: Tensor, p: float) -> Tensor:
    """Algorithm 2: a window at eps or -eps per channel."""
    x = region.x
    _, channels, height, width = x.shape
    side = min(max(round(math.sqrt(p * height * width)), 1), height - 1 or 1, width - 1 or 1)
    window = square_window(region, draws[:, 0], draws[:, 1], side)
    pixels = x.flatten(2).gather(2, window)
    low, high = (b.flatten(2).gather(2, window) if isinstance(b, Tensor) else b for b in region.range)
    change = (draw_signs(draws[:, 4], channels, x.dtype) * region.eps[:, None])[:, :, None]
    changed = torch.clamp_(pixels + change, low, high).sub_(pixels)  # type: ignore[arg-type]
    return delta.flatten(2).scatter(2, window, changed).view_as(x)


def _propose_lp(region: Region, delta: Tensor, draws: Tensor, p: float) -> Tensor:
    """Algorithm 3: the norm of two windows, and the unused budget, into the first of them."""
    x, eps, power = region.x, region.eps, int(region.ball.p)
    _, channels, height, width = x.shape
    side = max(round(math.sqrt(p * height * width)), 3) // 2 * 2 + 1
    side = min(side, height, width)
    first, second = (square_window(region, draws[:, i], draws[:, i + 1], side) for i in (0, 2))
    flat = delta.flatten(2)
    own, cleared = flat.gather(2, first), flat.scatter(2, second, 0.0)
    both = flat.gather(2, second).abs().pow(power).sum(2) + cleared.gather(2, first).abs().pow(power).sum(2)
    left = (eps**power - flat.abs().pow(power).sum((1, 2))).clamp_min(0) / channels
    pattern = eta(side, flat.dtype, flat.device)
    transposed = ((draws[:, 0] ^ draws[:, 1]) & 1 == 1)[:, None]
    pattern = torch.where(transposed, pattern.flatten(), pattern.T.flatten())[:, None]
    pattern = pattern if power == 2 else _unit_per_channel(pattern, power)
    signs = draw_signs(draws[:, 4], channels, flat.dtype)[:, :, None]
    fresh = pattern * signs + _unit_per_channel(own, power)
    if region.free is not None:
        fresh = fresh.where(region.free.flatten(2).gather(2, first), 0)
    fresh = _unit_per_channel(fresh, power) * (left[:, None] + both).pow(1 / power)[:, :, None]
    return onto_sphere(region, cleared.scatter(2, first, fresh).view_as(x))


def _propose_neighbourhood(region: Region, delta: Tensor, draws: Tensor, p: float) -> Tensor:
    """The same on inputs of any kind: one sign per channel into the sites of a neighbourhood."""
    x, inputs = region.x, region.inputs
    sites, channels = inputs.per_site(x).shape[1:]
    first, second = (
        inputs.from_sites(inputs.window(x, draw_site(region, draws[:, i], sites), p)[:, :, None], x) for i in (0, 2)
    )
    signs = inputs.from_sites(draw_signs(draws[:, 4], channels, x.dtype)[:, None].expand(-1, sites, -1), x)
    if math.isinf(region.ball.p):
        return region.project(torch.where(first, signs * rowwise(region.eps, x), delta))
    rest, power = delta.masked_fill(first | second, 0), region.ball.p
    left = (region.eps**power - region.norm(rest) ** power).clamp_min(0) ** (1 / power)
    pattern = region.masked(_unit_norm(region, signs * first) + _unit_norm(region, delta * first))
    return onto_sphere(region, rest + _unit_norm(region, pattern) * rowwise(left, x))


def _unit_norm(region: Region, values: Tensor) -> Tensor:
    """The values (B, ...) at norm 1; zero stays zero."""
    return values / rowwise(region.norm(values).clamp_min(tiny(values)), values)


def _unit_per_channel(window: Tensor, power: int) -> Tensor:
    """(B, C, n) scaled to norm 1 (L1 or L2) per channel; zero stays zero."""
    norm: Tensor = torch.linalg.vector_norm(window, power, dim=2, keepdim=True)
    return window / norm.clamp_min(tiny(window))
