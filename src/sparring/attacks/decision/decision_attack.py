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

BISECTIONS = 8  # steps of `bisect_to_boundary`


@dataclass(frozen=True)
class DecisionState:
    """The adversarial image of each row, from which the attack goes on."""

    adversarial: Tensor  # (B, ...); the input itself where none was found
    stuck: Tensor  # (B,) bool: no adversarial image was found


S = TypeVar("S", bound=DecisionState)


class DecisionAttack(MinimumNormAttack[A, S]):
    """Base class: attacks that start from an adversarial image, given or searched, and reduce its distance."""

    init_size: int
    starting_pool: Tensor | None

    @property
    def accepts_start(self) -> bool:
        return True

    def stuck(self, state: S) -> Tensor:
        return state.stuck

    def find_start(self, oracle: A, batch: Batch) -> tuple[Tensor, Tensor]:
        """Search an adversarial image per row; return the images (B, ...), and (B,) bool: rows where none was found.

        The batch's own start is tried first, where there is one, then the images of `starting_pool` in their order,
        then `init_size` random ones; a row stops at its first success. Masked components stay those of the input.

        Raises:
            InputError: `starting_pool` has images of another shape than the inputs.
        """
        region, key, pool = oracle.region, oracle.key, self.starting_pool
        adversarial, missing = region.x.clone(), torch.ones_like(key.indices, dtype=torch.bool)
        pooled = 0 if pool is None else len(pool)
        if pool is not None and pool.shape[1:] != region.x.shape[1:]:
            raise InputError(
                f"{self.name}'s starting_pool has shape {tuple(pool.shape)}, and the images are "
                f"{tuple(region.x.shape[1:])}"
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
    """Bisect between the adversarial images and their inputs; return adversarial images (B, ...) near the boundary.

    Args:
        adversarial: (B, ...) the adversarial images.
        stuck: (B,) bool, rows without an adversarial image, which are left as they are.
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
