"""Base class of the decision attacks: finding starting points, and bisection to the decision boundary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from ...access import Batch, Decisions
from ...access.attack import A
from ...errors import InputError
from ...geometry import rowwise
from ...rows import take
from ..minimum_norm import MinimumNormAttack

BISECTIONS = 8  # of the way from the first adversarial image to the input


@dataclass(frozen=True)
class DecisionState:
    """An adversarial image per row."""

    adversarial: Tensor  # (B, ...); the input itself where none was found
    stuck: Tensor  # (B,) bool: none was found to start from


S = TypeVar("S", bound=DecisionState)


class DecisionAttack(MinimumNormAttack[A, S]):
    """An attack that goes from an adversarial image to the nearest one, and accepts one to start from."""

    init_size: int
    pool: Tensor | None

    @property
    def accepts_start(self) -> bool:
        return True

    def stuck(self, state: S) -> Tensor:
        return state.stuck

    def find_start(self, oracle: A, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return an adversarial image per row (B, ...), and (B,) bool: the rows without one, which hold their input.

        First the batch's own start is tried, where there is one, then the images of `pool` in their order, then
        `init_size` random ones; a row asks until it succeeds. Under a mask they keep what may not move.

        Raises:
            InputError: for a pool whose images have another shape than the inputs.
        """
        region, key, pool = oracle.region, oracle.key, self.pool
        adversarial, missing = region.x.clone(), torch.ones_like(key.indices, dtype=torch.bool)
        pooled = 0 if pool is None else len(pool)
        if pool is not None and pool.shape[1:] != region.x.shape[1:]:
            raise InputError(
                f"{self.name}'s pool has shape {tuple(pool.shape)}, and the images are {tuple(region.x.shape[1:])}"
            )
        for i in range(-1 if batch.start is not None else 0, pooled + self.init_size):
            rows = (missing & oracle.open()).nonzero().squeeze(1)
            if len(rows) == 0:
                break
            part = region.take(rows)
            if batch.start is not None and i < 0:
                trial = batch.start[rows]
            elif pool is not None and i < pooled:
                trial = pool[i].to(part.x).expand_as(part.x)
            else:
                trial = region.inputs.random(take(key, rows), part.x, i - pooled)
            trial = part.clamp(trial)
            success = oracle.decide(trial, rows=rows)
            adversarial[rows[success]] = trial[success]
            missing[rows[success]] = False
        return adversarial, missing


def bisect_to_boundary(oracle: Decisions, adversarial: Tensor, stuck: Tensor) -> Tensor:
    """Return the images (B, ...) moved straight towards their inputs, to the boundary up to 2^-8 of the way.

    Args:
        adversarial: (B, ...) where the rows stand.
        stuck: (B,) bool, rows that are left as they are and ask nothing.
    """
    x = oracle.region.x
    low = torch.zeros_like(oracle.region.eps)
    high = torch.ones_like(low)
    for _ in range(BISECTIONS):
        rows = (~stuck & oracle.open()).nonzero().squeeze(1)
        if len(rows) == 0:
            break
        middle = (low + high) / 2
        trial = x[rows] + (adversarial - x)[rows] * rowwise(middle[rows], x)
        success = torch.zeros_like(stuck).index_copy(0, rows, oracle.decide(trial, rows=rows))
        low, high = torch.where(success, low, middle), torch.where(success, middle, high)
    return x + (adversarial - x) * rowwise(high, x)
