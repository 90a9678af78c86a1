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

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ...access import Attack, Batch, Keep, Scores
from ...errors import ConfigError, ThreatError
from ...geometry import L2, Ball, tiny
from ...random import Key

BETA1, BETA2 = 0.9, 0.999  # Adam
FLOOR = 1.0  # in root mean squares of the first gradient
CHUNK = 1 << 16  # numbers per row in one set of images: memory stays flat
GROWTH, SHRINK = 1.5, 0.05  # of c, and of the perturbation where the row is across; at first
STRIDE = 6.0  # the rate, in root mean squares of the perturbation that crosses a linear model


@dataclass(frozen=True)
class Search:
    """The perturbation of each row on its grid, and Adam's memory of every coordinate."""

    x: Tensor
    delta: Tensor  # (B, C, h, w)
    mean: Tensor
    square: Tensor
    count: Tensor  # int32
    c: Tensor
    across: Tensor  # how often the row came across
    lost: Tensor  # bool: at the last step it was not across
    rate: Tensor
    floor: Tensor  # what Adam adds to the root of its second moment
    key: Key


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

    def __post_init__(self) -> None:
        if not isinstance(self.ball, L2):
            raise ThreatError(f"ZOO knows L2, not {self.ball}; use Square or SimBA there")
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
        x, none = batch.x, batch.x.new_zeros(len(batch.x))
        still = x.new_zeros(*x.shape[:2], *(min(self.side, size) for size in x.shape[2:]))
        return Search(x, still, still, still, still.int(), none, none, none < 0, none, none, batch.key)

    def step(self, oracle: Scores, state: Search, t: int) -> Search:
        images = self._images(state)
        margin = oracle.score(images).margin
        gap = self.confidence - margin
        losing = gap >= 0
        picked = self._picked(state, t)
        rows = losing.nonzero().squeeze(1)
        slope = torch.zeros_like(picked, dtype=images.dtype)
        if len(rows):
            slope[rows] = self._slopes(oracle, images, margin, state.delta, picked, rows)
        if t == 0:
            state = self._scaled(state, gap, slope)
        state = self._descended(state, picked, slope, losing)
        factor, turned = GROWTH ** pace(state), state.lost & ~losing
        c = torch.where(losing, state.c * factor, torch.where(turned, state.c / factor**2, state.c))
        return replace(state, c=c, across=state.across + turned, lost=losing)

    def _images(self, state: Search) -> Tensor:
        return (state.x + spread(state.delta, state.x)).clamp_(0, 1)

    def _picked(self, state: Search, t: int) -> Tensor:
        """(B, k) coordinates of this step: a random order is used up before the next is drawn."""
        total = state.delta[0].numel()
        sets = -(-total // self.coordinates)
        order = state.key.uniform("order", (total,), t // sets, torch.float64).argsort(dim=1, stable=True)
        start = min(t % sets * self.coordinates, max(total - self.coordinates, 0))
        return order[:, start : start + self.coordinates]

    def _slopes(
        self, oracle: Scores, images: Tensor, margin: Tensor, delta: Tensor, picked: Tensor, rows: Tensor
    ) -> Tensor:
        """(rows, k) of the margin in the picked coordinates, each probed away from the nearer edge of the range."""
        chosen, base, size = picked[rows], images[rows], max(1, CHUNK // images[0].numel())
        parts = []
        for start in range(0, chosen.shape[1], size):
            at = chosen[:, start : start + size]
            grid = delta.new_zeros(len(rows), at.shape[1], delta[0].numel()).scatter_(2, at[:, :, None], self.probe)
            cell = spread(grid.view(-1, *delta.shape[1:]), images).view(len(rows), at.shape[1], *images.shape[1:])
            middle = (base[:, None] * cell).flatten(2).sum(2) / cell.flatten(2).sum(2)
            sign = torch.where(middle > 0.5, -1.0, 1.0).to(images.dtype)
            trial = (base[:, None] + cell * sign[:, :, None, None, None]).clamp_(0, 1)
            answer = oracle.score(trial.flatten(0, 1), rows=rows.repeat_interleave(at.shape[1])).margin
            parts.append((answer.view_as(at) - margin[rows, None]) * sign / self.probe)
        return torch.cat(parts, dim=1).nan_to_num(0.0, 0.0, 0.0)

    def _scaled(self, state: Search, gap: Tensor, slope: Tensor) -> Search:
        """c and the rate of a linear model whose other slopes are like those of the first set."""
        total = state.delta[0].numel()
        cells = state.x[0].numel() / total
        length = slope.square().mean(1) * total / cells  # of the image's gradient, squared
        linear, steep = length > 0, length.clamp_min(tiny(gap))
        c = torch.where(linear, 2 * gap / steep, 1.0)
        floor = torch.where(linear, FLOOR * c * slope.square().mean(1).sqrt(), 1e-8)
        typical = (gap / steep.sqrt() / math.sqrt(state.x[0].numel())).clamp(1e-5, 0.1)
        rate = STRIDE * typical if self.rate is None else torch.full_like(gap, self.rate)
        return replace(state, c=c, rate=rate.clamp(max=1), floor=floor)

    def _descended(self, state: Search, picked: Tensor, slope: Tensor, losing: Tensor) -> Search:
        cells = state.x[0].numel() / state.delta[0].numel()
        flat, mean, square, count = (
            part.flatten(1) for part in (state.delta, state.mean, state.square, state.count)
        )
        old = flat.gather(1, picked)
        grad = 2 * cells * old - state.c[:, None] * slope
        m = mean.gather(1, picked).lerp(grad, 1 - BETA1)
        v = square.gather(1, picked).mul(BETA2).addcmul(grad, grad, value=1 - BETA2)
        n = count.gather(1, picked) + 1
        wide = n.to(grad.dtype)
        move = m / (1 - BETA1**wide) / ((v / (1 - BETA2**wide)).sqrt() + state.floor[:, None])
        lower, upper = (F.adaptive_max_pool2d(room, state.delta.shape[2:]) for room in (state.x, 1 - state.x))
        moved = flat.scatter(1, picked, old - (state.rate * pace(state))[:, None] * move)
        new = moved.clamp(-lower.flatten(1), upper.flatten(1))

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
