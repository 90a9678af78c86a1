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
from ...rows import take

HALVINGS = 8  # of the way from the first winner to the image


@dataclass(frozen=True)
class Found:
    """An image that wins, per row."""

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
    def accepts_start(self) -> bool:
        return True

    def stuck(self, state: F) -> Tensor:
        return state.stuck

    def find_start(self, oracle: A, batch: Batch) -> tuple[Tensor, Tensor]:
        """A winner per row, and (B,) bool: the rows without one, which hold their own image.

        First the batch's own start is tried, where there is one, then the images of `pool` (M, C, H, W) in their
        order, then `starts` random ones; a row asks until it wins. Under a mask they keep what may not move.
        """
        region, key, pool = oracle.region, oracle.key, self.pool
        winner, missing = region.x.clone(), torch.ones_like(key.indices, dtype=torch.bool)
        pooled = 0 if pool is None else len(pool)
        if pool is not None and pool.shape[1:] != region.x.shape[1:]:
            raise InputError(
                f"{self.name}'s pool has shape {tuple(pool.shape)}, and the images are {tuple(region.x.shape[1:])}"
            )
        for i in range(-1 if batch.start is not None else 0, pooled + self.starts):
            rows = (missing & oracle.open()).nonzero().squeeze(1)
            if len(rows) == 0:
                break
            there = region.take(rows)
            if batch.start is not None and i < 0:
                trial = batch.start[rows]
            elif pool is not None and i < pooled:
                trial = pool[i].to(there.x).expand_as(there.x)
            else:
                trial = region.inputs.random(take(key, rows), there.x, i - pooled)
            trial = there.clamp(trial)
            won = oracle.decide(trial, rows=rows)
            winner[rows[won]] = trial[won]
            missing[rows[won]] = False
        return winner, missing


def draw_near(oracle: Decisions, winner: Tensor, stuck: Tensor) -> Tensor:
    """The winners moved straight towards their inputs, to the boundary up to 2^-HALVINGS of the way."""
    x = oracle.region.x
    low = torch.zeros_like(oracle.region.eps)
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
