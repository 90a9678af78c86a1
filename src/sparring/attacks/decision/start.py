"""Where a decision attack begins: an image that wins, searched for each row by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from ...access import Attack, Batch, Decisions, Keep
from ...access.attack import A
from ...errors import InputError
from ...geometry import rowwise
from ...random import Key

GRID = 4  # cells per side of coarse noise
HALVINGS = 8  # of the way from the first winner to the image


@dataclass(frozen=True)
class Found:
    """An image that wins, per row."""

    x: Tensor
    key: Key
    winner: Tensor
    stuck: Tensor  # bool: no winner was found to start from


F = TypeVar("F", bound=Found)


class FromWinner(Attack[A, F]):
    """From an image that wins to the smallest that does; the start may be given."""

    starts: int
    pool: Tensor | None

    @property
    def keep(self) -> Keep:
        return Keep.SMALLEST

    @property
    def warm(self) -> bool:
        return True

    def stuck(self, state: F) -> Tensor:
        return state.stuck

    def find_start(self, oracle: A, batch: Batch) -> tuple[Tensor, Tensor]:
        """A winner per row, and (B,) bool: the rows without one, which hold their own image.

        First the batch's own start is tried, where there is one, then the images of `pool` (M, C, H, W) in their
        order, then `starts` random ones; a row asks until it wins. Every second random image is coarse noise, since
        fine noise is all one class to many nets.
        """
        pool, winner, missing = self.pool, batch.x.clone(), torch.ones_like(batch.key.ids, dtype=torch.bool)
        pooled = 0 if pool is None else len(pool)
        if pool is not None and pool.shape[1:] != batch.x.shape[1:]:
            raise InputError(
                f"{self.name}'s pool has shape {tuple(pool.shape)}, and the images are {tuple(batch.x.shape[1:])}"
            )
        for i in range(-1 if batch.start is not None else 0, pooled + self.starts):
            rows = (missing & oracle.open()).nonzero().squeeze(1)
            if len(rows) == 0:
                break
            x = batch.x[rows]
            if batch.start is not None and i < 0:
                trial = batch.start[rows]
            elif pool is not None and i < pooled:
                trial = pool[i].to(x).expand_as(x)
            else:
                trial = _noise(Key(batch.key.ids[rows], batch.key.seed), x, i, (i - pooled) % 2 == 1)
            won = oracle.decide(trial, rows=rows)
            winner[rows[won]] = trial[won]
            missing[rows[won]] = False
        return winner, missing


def _noise(key: Key, x: Tensor, i: int, coarse: bool) -> Tensor:
    """A random image per row, in cells of a grid where `coarse`."""
    if not coarse:
        return key.uniform("start", x.shape[1:], i, x.dtype)
    cells = key.uniform("start", (x.shape[1], GRID, GRID), i, x.dtype)
    return torch.nn.functional.interpolate(cells, size=x.shape[2:], mode="nearest")


def draw_near(oracle: Decisions, x: Tensor, winner: Tensor, stuck: Tensor) -> Tensor:
    """The winners moved straight towards their images, to the boundary up to 2^-HALVINGS of the way."""
    low = torch.zeros_like(x[:, 0, 0, 0])
    high = torch.ones_like(low)
    for _ in range(HALVINGS):
        rows = (~stuck & oracle.open()).nonzero().squeeze(1)
        if len(rows) == 0:
            break
        middle = (low + high) / 2
        trial = x[rows] + (winner - x)[rows] * rowwise(middle[rows], x)
        won = torch.zeros_like(stuck).index_copy(0, rows, oracle.decide(trial, rows=rows))
        low, high = torch.where(won, low, middle), torch.where(won, middle, high)
    return x + (winner - x) * rowwise(high, x)
