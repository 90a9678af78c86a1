"""Zeroth-order optimisation (Chen et al. 2017, arXiv:1708.03999, algorithms 1 and 2).

Carlini and Wagner's objective without gradients,

    minimise  |x' - x|_2^2 + c * max(confidence - margin(x'), 0),   x' in [0, 1],

by coordinate descent: a set of coordinates per step, the slope of each from finite differences, and Adam with moments
and a count of steps *per coordinate*:

    M_i <- b1 M_i + (1 - b1) g_i,   v_i <- b2 v_i + (1 - b2) g_i^2,   T_i <- T_i + 1
    delta_i <- delta_i - rate * (M_i / (1 - b1^T_i)) / (sqrt(v_i / (1 - b2^T_i)) + floor)

Images larger than `side` are moved cell by cell of a coarse grid (section 3.3).

Departures: differences are one-sided, from one shared answer, which halves the queries, and of the margin only, since
the slope of the distance is known. Coordinates are drawn without replacement until all had their turn. Where a row
is across, the hinge is flat: the whole perturbation shrinks, for one query. Instead of rounds of bisection, c grows
while a row is not across and falls when it comes across; this, the shrinking and the rate slow down as that recurs.
c and the rate start from what suits a linear model with the slopes of the first set, and so does Adam's floor (1e-8
in the paper), without which noise moves coordinates that do not matter as far as the others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ...access import Attack, Batch, Keep, Scores
from ...errors import ConfigError
from ...geometry import L2, Ball, tiny
from ...geometry.region import Region
from ...inputs import Images

BETA1, BETA2 = 0.9, 0.999  # Adam
FLOOR = 1.0  # in root mean squares of the first gradient
CHUNK = 1 << 16  # numbers per row in one set of images: memory stays flat
GROWTH, SHRINK = 1.5, 0.05  # of c, and of the perturbation where the row is across; at first
STRIDE = 6.0  # the rate, in root mean squares of the perturbation that crosses a linear model


@dataclass(frozen=True)
class Search:
    """The perturbation of each row on its grid, and Adam's memory of every coordinate."""

    delta: Tensor  # (B, C, h, w); like the inputs where they are no images
    mean: Tensor
    square: Tensor
    count: Tensor  # int32
    c: Tensor
    across: Tensor  # how often the row came across
    lost: Tensor  # bool: at the last step it was not across
    rate: Tensor
    floor: Tensor  # what Adam adds to the root of its second moment


@dataclass(frozen=True)
class ZOO(Attack[Scores, Search]):
    """Minimum L2 norm from scores, a set of coordinates at a time.

    Args:
        steps: Adam steps (3,000 in the paper for MNIST and CIFAR-10).
        coordinates: how many are measured per step (128 in the paper's code), a query each.
        rate: Adam's step size in pixel values (0.01 in the paper for MNIST, 0.002 for ImageNet); None: per row.
        probe: length of the finite differences in pixel values (1e-4 in the paper).
        side: cells per side of the grid at most (32 in the paper for ImageNet).
        confidence: the margin that an example must exceed to count.
        ball: L2; a finite eps asks for examples within it.
    """

    steps: int = 3000
    coordinates: int = 128
    rate: float | None = None
    probe: float = 1e-3
    side: int = 32
    confidence: float = 0.0
    ball: Ball = L2()

    norms: ClassVar[tuple[type[Ball], ...]] = (L2,)
    elsewhere: ClassVar[str] = "Square or SimBA"
    regional: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.steps, self.coordinates, self.side) < 1:
            numbers = f"steps={self.steps}, coordinates={self.coordinates}, side={self.side}"
            raise ConfigError(f"ZOO {numbers}; pass numbers >= 1")
        if not 0 < self.probe < 0.5 or not (self.rate is None or self.rate > 0) or not self.confidence >= 0:
            numbers = f"probe={self.probe}, rate={self.rate}, confidence={self.confidence}"
            raise ConfigError(f"ZOO {numbers}; pass 0 < probe < 0.5, a rate > 0 and a margin >= 0")

    @property
    def keep(self) -> Keep:
        return Keep.SMALLEST

    def init(self, oracle: Scores, batch: Batch) -> Search:
        region, x, none = oracle.region, oracle.region.x, torch.zeros_like(oracle.region.eps)
        grid = x.shape[2:]
        if isinstance(region.inputs, Images):
            grid = torch.Size(min(self.side, size) for size in grid)
        still = x.new_zeros(*x.shape[:2], *grid)
        return Search(still, still, still, still.int(), none, none, none < 0, none, none)

    def step(self, oracle: Scores, state: Search, t: int) -> Search:
        region = oracle.region
        images = region.clamp_(region.x + spread(state.delta, region.x))
        margin = oracle.score(images).margin
        gap = self.confidence - margin
        losing = gap >= 0
        rooms = [cells(region.room(sign * torch.ones_like(images)), state.delta) for sign in (-1, 1)]
        picked = self._picked(oracle, (rooms[0] + rooms[1]).flatten(1) > 0, t)
        rows = losing.nonzero().squeeze(1)
        slope = torch.zeros_like(picked, dtype=images.dtype)
        if len(rows):
            slope[rows] = self._slopes(oracle, images, margin, state.delta, picked, rows)
        if t == 0:
            state = self._scaled(region, state, gap, slope)
        state = self._descended(region, state, rooms, picked, slope, losing)
        factor, turned = GROWTH ** pace(state), state.lost & ~losing
        c = torch.where(losing, state.c * factor, torch.where(turned, state.c / factor**2, state.c))
        return replace(state, c=c, across=state.across + turned, lost=losing)

    def _picked(self, oracle: Scores, movable: Tensor, t: int) -> Tensor:
        """(B, k) coordinates of this step: a random order of the movable ones is used up before the next is drawn."""
        count, most = movable.sum(1), movable.shape[1]
        sets = (count + self.coordinates - 1).div(self.coordinates, rounding_mode="floor").clamp_min(1)
        order = oracle.key.uniform("order", (most,), t // sets, torch.float64)
        order = order.masked_fill_(~movable, 2).argsort(dim=1, stable=True)
        start = torch.minimum(t % sets * self.coordinates, (count - self.coordinates).clamp_min(0))
        place = start[:, None] + torch.arange(min(self.coordinates, most), device=count.device)
        return order.gather(1, torch.minimum(place, (count - 1).clamp_min(0)[:, None]))

    def _slopes(
        self, oracle: Scores, images: Tensor, margin: Tensor, delta: Tensor, picked: Tensor, rows: Tensor
    ) -> Tensor:
        """(rows, k) of the margin in the picked coordinates, each probed away from the nearer edge of the range."""
        region, chosen, base = oracle.region.take(rows), picked[rows], images[rows]
        size, probe = max(1, CHUNK // images[0].numel()), self.probe * region.inputs.scale
        up, down = (region.room(sign * torch.ones_like(base), base).nan_to_num(posinf=1) for sign in (1, -1))
        parts = []
        for start in range(0, chosen.shape[1], size):
            at = chosen[:, start : start + size]
            grid = delta.new_zeros(len(rows), at.shape[1], delta[0].numel()).scatter_(2, at[:, :, None], probe)
            cell = spread(grid.view(-1, *delta.shape[1:]), images).view(len(rows), at.shape[1], *images.shape[1:])
            lean = ((down - up)[:, None] * cell).flatten(2).sum(2)
            sign = torch.where(lean > 0, -1.0, 1.0).to(images.dtype)
            trial = region.clamp_many_(base[:, None] + cell * sign.view(*sign.shape, *[1] * (images.ndim - 1)))
            answer = oracle.score(trial.flatten(0, 1), rows=rows.repeat_interleave(at.shape[1])).margin
            parts.append((answer.view_as(at) - margin[rows, None]) * sign / probe)
        return torch.cat(parts, dim=1).nan_to_num(0.0, 0.0, 0.0)

    def _scaled(self, region: Region, state: Search, gap: Tensor, slope: Tensor) -> Search:
        """c and the rate of a linear model whose other slopes are like those of the first set."""
        size = region.x[0].numel() / state.delta[0].numel()
        length = slope.square().mean(1) * region.dimension / size**2  # of the image's gradient, squared
        linear, steep = length > 0, length.clamp_min(tiny(gap))
        c = torch.where(linear, 2 * gap / steep, 1.0)
        floor = torch.where(linear, FLOOR * c * slope.square().mean(1).sqrt(), 1e-8)
        scale = region.inputs.scale
        typical = (gap / steep.sqrt() / region.dimension.sqrt()).clamp(1e-5 * scale, 0.1 * scale)
        rate = STRIDE * typical if self.rate is None else torch.full_like(gap, self.rate)
        return replace(state, c=c, rate=rate.clamp(max=scale), floor=floor)

    def _descended(
        self,
        region: Region,
        state: Search,
        rooms: list[Tensor],
        picked: Tensor,
        slope: Tensor,
        losing: Tensor,
    ) -> Search:
        size = region.x[0].numel() / state.delta[0].numel()
        flat, mean, square, count = (part.flatten(1) for part in (state.delta, state.mean, state.square, state.count))
        old = flat.gather(1, picked)
        grad = 2 * size * old - state.c[:, None] * slope
        m = mean.gather(1, picked).lerp(grad, 1 - BETA1)
        v = square.gather(1, picked).mul(BETA2).addcmul(grad, grad, value=1 - BETA2)
        n = count.gather(1, picked) + 1
        wide = n.to(grad.dtype)
        move = m / (1 - BETA1**wide) / ((v / (1 - BETA2**wide)).sqrt() + state.floor[:, None])
        moved = flat.scatter(1, picked, old - (state.rate * pace(state))[:, None] * move)
        new = moved.clamp(-rooms[0].flatten(1), rooms[1].flatten(1))

        def where(new: Tensor, old: Tensor) -> Tensor:
            return torch.where(losing[:, None], new, old).view_as(state.delta)

        return replace(
            state,
            delta=where(new, flat * (1 - SHRINK * pace(state))[:, None]),
            mean=where(mean.scatter(1, picked, m), mean),
            square=where(square.scatter(1, picked, v), square),
            count=where(count.scatter(1, picked, n), count),
        )


def pace(state: Search) -> Tensor:
    """(B,) how fast a row still moves: the root of how often it was across."""
    return (1 + state.across).rsqrt()


def spread(grid: Tensor, like: Tensor) -> Tensor:
    """(B, C, h, w) cells as the images they cover."""
    return grid if grid.shape[2:] == like.shape[2:] else F.interpolate(grid, size=like.shape[2:], mode="nearest")


def cells(room: Tensor, grid: Tensor) -> Tensor:
    """(B, C, h, w) the largest room in each cell of the grid."""
    return room if room.shape == grid.shape else F.adaptive_max_pool2d(room, grid.shape[2:])
