"""SimBA (Guo et al. 2019, arXiv:1905.07121, algorithm 1).

Along the directions q of an orthonormal basis, in random order and none twice, with answers alone:

    delta <- delta + step_size * q  where that raises the margin, else delta - step_size * q where that does, else stay

so that after T directions |delta|_2 <= sqrt(T) * step_size. The basis is that of the discrete cosine transform, from
the lowest block of frequencies outwards (section 3.2), or the pixels. Each row is at its own direction, so every
question is one image of every row.

Departures: where the first side loses, the second is believed to gain as much and asked about together with the next
direction; only if that does not beat the best answer, by itself (little more than one query a direction instead of
1.5). The margin is climbed, not the probability of the label, which saturates; of a pixel the side with more room is
tried first, and a side without room is not asked about; past the last direction the first comes again, until a whole
round gains nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Attack, Batch, Scores
from ...errors import ConfigError, InputError
from ...geometry import L2, Ball, Linf, rowwise
from ...geometry.region import Region
from ...inputs import Images
from ...random import Key


@dataclass(frozen=True)
class Tour:
    """The best perturbation of each row so far, and where the row is on its way through the basis."""

    delta: Tensor
    margin: Tensor
    order: Tensor  # (B, directions) int64 into the components
    place: Tensor  # int64: directions left behind
    guess: Tensor  # the perturbation that should be better still
    hope: Tensor  # its margin, if the net is linear
    check: Tensor  # bool: ask about the guess itself
    idle: Tensor  # int64: directions since the last gain
    round: Tensor  # int64: directions that there are


@dataclass(frozen=True)
class SimBA(Attack[Scores, Tour]):
    """Random search along one basis vector at a time.

    Args:
        ball: L2 or Linf; infinite (the default): the first example found, however far; finite: kept inside.
        steps: queries per row (20,000 in the paper).
        step_size: length of one move in pixel values (0.2 in the paper).
        pixels: the pixel basis instead of the cosine basis.
        block: share of each side that the first frequencies take (28 of 224 in the paper).
        stride: share of each side by which that block grows when all of it was tried (7 of 224 in the paper).
    """

    ball: Ball = L2()
    steps: int = 20_000
    step_size: float = 0.2
    pixels: bool = False
    block: float = 1 / 8
    stride: float = 1 / 32

    norms: ClassVar[tuple[type[Ball], ...]] = (L2, Linf)
    elsewhere: ClassVar[str] = "Square or PGD"
    regional: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1 or not 0 < self.step_size < math.inf:
            raise ConfigError(f"SimBA steps={self.steps}, step_size={self.step_size}; pass steps >= 1 and a length > 0")
        if not (0 < self.block <= 1 and 0 < self.stride <= 1):
            raise ConfigError(f"SimBA block={self.block}, stride={self.stride}; pass shares of a side in (0, 1]")

    def check(self, region: Region) -> None:
        super().check(region)
        if not self.pixels and not isinstance(region.inputs, Images):
            raise InputError(f"SimBA's cosines are of pixels, and these are {region.inputs.plural}; pass pixels=True")

    def init(self, oracle: Scores, batch: Batch) -> Tour:
        x, none = oracle.region.x, torch.zeros_like(oracle.key.indices)
        order = self._order(oracle.key, oracle.region)[:, : self.steps].clone()
        still, margin = torch.zeros_like(x), oracle.score(x).margin
        count = oracle.region.dimension.long() if self.pixels else torch.full_like(none, x[0].numel())
        return Tour(still, margin, order, none, still, margin, none > 0, none, count)

    def _order(self, key: Key, region: Region) -> Tensor:
        """(B, n): random, for frequencies block by block; components that may not move come last."""
        rank = key.uniform("order", region.x.shape[1:], dtype=torch.float64)
        if not self.pixels:
            down, right = (self._blocks(side).to(rank.device) for side in region.x.shape[2:])
            rank += torch.maximum(down[:, None], right)
        elif region.free is not None:
            rank.masked_fill_(~region.free, 2)
        return rank.flatten(1).argsort(dim=1, stable=True)

    def _blocks(self, side: int) -> Tensor:
        """(side,) the block in whose turn each frequency comes."""
        first, growth = max(round(self.block * side), 1), max(round(self.stride * side), 1)
        return (torch.arange(side) - first).div(growth, rounding_mode="floor").add_(1).clamp_(min=0)

    def step(self, oracle: Scores, state: Tour, t: int) -> Tour:
        region, size = oracle.region, self.step_size * oracle.region.inputs.scale
        at = state.order.gather(1, (state.place % state.round.clamp(max=state.order.shape[1]))[:, None])
        up, down = self._room(region, state, at)
        side = torch.where(up >= down, size, -size).to(region.x.dtype)
        trial = self._moved(region, state, at, side.masked_fill(state.check, 0.0))
        margin = oracle.score(region.x + trial).margin
        better, right = margin > state.margin, margin > state.hope
        other = torch.minimum(up, down) > 0
        mirrored = torch.where(other, 2 * state.hope - margin, state.hope)
        turned = self._moved(region, state, at, torch.where(other, -side, 0.0))
        known = torch.where(better, margin, state.margin)
        delta = torch.where(rowwise(better, trial), trial, state.delta)
        settled = right | state.check
        hope = torch.where(settled, known, mirrored)
        return replace(
            state,
            delta=delta,
            margin=known,
            guess=torch.where(rowwise(settled, trial), delta, turned),
            hope=hope,
            check=~better & ~state.check & (state.hope > state.margin),
            place=state.place + ~state.check,
            idle=torch.where(better, 0, state.idle + ~state.check),
        )

    def _room(self, region: Region, state: Tour, at: Tensor) -> tuple[Tensor, Tensor]:
        """(B,) how far direction `at` reaches upwards and downwards."""
        if not self.pixels:
            whole = torch.ones_like(state.margin)
            return whole, whole
        low, high = (b.flatten(1).gather(1, at).squeeze(1) if isinstance(b, Tensor) else b for b in region.range)
        delta = state.guess.flatten(1).gather(1, at).squeeze(1)
        value = region.x.flatten(1).gather(1, at).squeeze(1) + delta
        return torch.minimum(high - value, region.eps - delta), torch.minimum(value - low, region.eps + delta)

    def _moved(self, region: Region, state: Tour, at: Tensor, side: Tensor) -> Tensor:
        """The guess with `side` (B,) added along the direction `at` (B, 1), within ball and range."""
        delta = state.guess
        if self.pixels:
            return region.project(delta.flatten(1).scatter_add(1, at, side[:, None]).view_as(delta))
        height, width = delta.shape[2:]
        channel, row, column = at // (height * width), at // width % height, at % width
        tall, wide = (cosines(size, delta.dtype, delta.device) for size in (height, width))
        wave = (tall[row.squeeze(1)] * side[:, None])[:, :, None] * wide[column]
        own = torch.arange(delta.shape[1], device=delta.device) == channel
        return region.project(delta + wave[:, None] * own[:, :, None, None])

    def done(self, state: Tour) -> Tensor:
        return state.idle >= state.round


@lru_cache(maxsize=64)
def cosines(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(size, size) the orthonormal cosine transform (DCT-II), a frequency per row."""
    place = torch.arange(size, dtype=torch.float64)
    wave = (math.pi / size * place[:, None] * (place + 0.5)).cos() * math.sqrt(2 / size)
    wave[0] = math.sqrt(1 / size)
    return wave.to(dtype).to(device)
