"""The nearest point of a hyperplane within bounds, in Linf, L2 and L1 (Croce & Hein 2020, section 2.2).

    minimise |d|_p   subject to   <slope, d> = gain,   lower <= d <= upper

Each component can only help in the direction of its slope, by at most its room to the edge of the range, so what is
left is a question of sizes s_i in [0, room_i]: s = min(t, room) in Linf, s = min(t |slope|, room) in L2, with the t
that gains enough, and in L1 whole components in the order of their slopes until it is enough.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..shapes import FloatBatch, FloatPerRow
from .ball import Bound, outward, rowwise, tiny

SWEEPS = 40  # far beyond what is needed; each sweep clips at least one more pixel or is the last


def spread_evenly(slope: FloatBatch, rate: FloatBatch, gain: FloatPerRow, lower: Bound, upper: Bound) -> FloatBatch:
    """Return steps of sizes min(t * rate, room) along the signs of `slope`, with the t that gains `gain` (B,).

    `rate` (B, ...) is |slope| in L2, and in Linf 1 where the slope is not 0. The gain is concave in t, so Newton's
    steps from t = 0 only grow, and end at the root.
    """
    uphill, room, weight, need = _parts(slope, gain, lower, upper)
    rate = rate.flatten(1)
    peak = rate.amax(1, keepdim=True).clamp_min(tiny(rate))
    top = weight.amax(1, keepdim=True).clamp_min(tiny(rate))  # squares of small slopes underflow
    rate, weight, need = rate / peak, weight / top, need / top.squeeze(1)
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
    return uphill * torch.minimum(scale[:, None] * rate, room).view_as(slope)


def steepest_first(slope: FloatBatch, gain: FloatPerRow, lower: Bound, upper: Bound) -> FloatBatch:
    """Move components to the edge of the range, steepest first, and the last one only as far as `gain` (B,) asks."""
    uphill, room, weight, need = _parts(slope, gain, lower, upper)
    weight, order = weight.sort(dim=1, descending=True, stable=True)
    width = room.gather(1, order)
    full = torch.where(weight > 0, weight * width, 0)  # an infinite room gains nothing without a slope
    earlier = torch.cat((torch.zeros_like(full[:, :1]), full.cumsum(1)[:, :-1]), dim=1)
    left = (need[:, None] - earlier).clamp_min(0)
    size = torch.minimum(torch.where(weight > 0, left / weight, 0), width)
    return uphill * torch.zeros_like(room).scatter(1, order, size).view_as(slope)


def _parts(slope: FloatBatch, gain: FloatPerRow, lower: Bound, upper: Bound) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the signs of the ascent (B, ...); flattened, the room along it and |slope|; and the gain needed (B,)."""
    uphill = slope.sign() * rowwise(gain.sign(), slope)
    return uphill, outward(uphill, lower, upper).flatten(1), slope.abs().flatten(1), gain.abs()
