"""The nearest point of a hyperplane within the valid range, in Linf, L2 and L1 (Croce & Hein 2020, section 2.2).

    minimise |d|_p   subject to   <slope, d> = gain,   0 <= image + d <= 1

Each pixel can only help in the direction of its slope, by at most its room to the edge of the range, so what is
left is a question of sizes s_i in [0, room_i]: s = min(t, room) in Linf, s = min(t |slope|, room) in L2, with the t
that gains enough, and in L1 whole pixels in the order of their slopes until it is enough.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import ThreatError
from .ball import Ball, rowwise, tiny
from .l1 import L1
from .l2 import L2
from .linf import Linf

SWEEPS = 40  # far beyond what is needed; each sweep clips at least one more pixel or is the last


def onto_plane(ball: Ball, images: Tensor, slope: Tensor, gain: Tensor) -> Tensor:
    """The smallest perturbation, in the norm of `ball`, by which <slope, .> rises by `gain` (B,).

    Where the valid range does not reach that far: the one that comes closest. Exact and zero where the slope is.
    """
    uphill = slope.sign() * rowwise(gain.sign(), slope)
    room = torch.where(uphill > 0, 1 - images, images).flatten(1)
    weight, need = slope.abs().flatten(1), gain.abs()
    if isinstance(ball, L1):
        size = _by_slope(room, weight, need)
    elif isinstance(ball, Linf):
        size = _evenly(room, weight, (weight > 0).to(weight.dtype), need)
    elif isinstance(ball, L2):
        size = _evenly(room, weight, weight, need)
    else:
        raise ThreatError(f"a projection onto hyperplanes is known in Linf, L2 and L1, not in {ball}")
    return uphill * size.view_as(slope)


def dual_norm(ball: Ball, slope: Tensor) -> Tensor:
    """(B,) how much a step of norm 1 can gain: the norm of the slopes (B, ...) that is dual to the ball's."""
    order = 1.0 if isinstance(ball, Linf) else 2.0 if isinstance(ball, L2) else torch.inf
    length: Tensor = torch.linalg.vector_norm(slope.flatten(1), ord=order, dim=1)
    return length


def _evenly(room: Tensor, weight: Tensor, rate: Tensor, need: Tensor) -> Tensor:
    """min(t * rate, room) with the t at which sum(weight * size) is `need`.

    The gain is concave in t, so Newton's steps from t = 0 only grow, and end at the root.
    """
    peak = rate.amax(1, keepdim=True).clamp_min(tiny(rate))
    rate, weight, need = rate / peak, weight / peak, need / peak.squeeze(1)  # squares of small slopes underflow
    full, speed = weight * room, weight * rate
    scale = torch.zeros_like(need)
    for _ in range(SWEEPS):
        clipped = scale[:, None] * rate >= room
        free = speed.masked_fill(clipped, 0).sum(1)
        left = need - full.masked_fill(~clipped, 0).sum(1)
        grown = torch.maximum(torch.where(free > 0, left / free.clamp_min(tiny(free)), scale), scale)
        if torch.equal(grown, scale):
            break
        scale = grown
    return torch.minimum(scale[:, None] * rate, room)


def _by_slope(room: Tensor, weight: Tensor, need: Tensor) -> Tensor:
    """Pixels moved to the edge of the range, steepest first; the last one only as far as `need` asks."""
    order = weight.argsort(dim=1, descending=True, stable=True)
    full = (weight * room).gather(1, order)
    left = need[:, None] - full.cumsum(1) + full
    share = (left / full.clamp_min(tiny(full))).clamp(0, 1)
    return torch.zeros_like(room).scatter(1, order, share) * room
