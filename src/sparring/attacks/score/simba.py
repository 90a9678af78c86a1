"""SimBA (Guo et al. 2019, arXiv:1905.07121, algorithm 1).

For each direction q of an orthonormal basis, in random order and without repetition:

    delta <- delta + step_size * q  where that raises the margin, else delta - step_size * q where that does, else delta

so that after T directions |delta|_2 <= sqrt(T) * step_size. The basis is that of the discrete cosine transform, from
the lowest block of frequencies outwards (section 3.2), or the pixels. Each row is at its own direction, so every
question is one image of every row.

Departures: where the first side lowers the margin, the second is assumed to raise it as much, and is queried together
with the next direction; only if that is no improvement, it is queried alone (little more than one query per direction
instead of 1.5). The margin is ascended, not the probability of the label, which saturates. For pixels the side farther
from its bound is tried first, and a side at its bound is skipped. After the last direction the search starts again with
the first, until a whole pass brings no improvement.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Attack, Batch, PositiveFloat, PositiveFraction, PositiveInt, Scores
from ...errors import InputError
from ...geometry import L2, Ball, Linf, rowwise
from ...geometry.region import Region
from ...inputs import Images
from .orthonormal_basis import draw_directions, move_along, room_along


@dataclass(frozen=True)
class SimBAState:
    """The best perturbation of each row so far, and its position in the basis; (B,) unless stated otherwise."""

    delta: Tensor  # (B, ...)
    margin: Tensor
    order: Tensor  # (B, directions) int64
    tried: Tensor  # int64: directions tried so far
    candidate: Tensor  # (B, ...) the perturbation assumed to be the best, not queried yet
    predicted: Tensor  # its margin by linear extrapolation
    confirming: Tensor  # bool: the next query is the candidate itself
    idle: Tensor  # int64: directions since the last improvement
    directions: Tensor  # int64: how many there are


@dataclass(frozen=True)
class SimBA(Attack[Scores, SimBAState]):
    """Search along one vector of an orthonormal basis at a time, by scores.

    Args:
        ball: L2 or Linf; infinite (the default): the first example found, however far; finite: kept inside.
        steps: queries per row (20,000 in the paper).
        step_size: the length of one move in pixel values (0.2 in the paper).
        pixels: whether to use the pixel basis instead of the cosine basis.
        freq_dims: the share of each side that the first frequencies take (28 of 224 in the paper).
        stride: the share of each side by which that block grows when all of it was tried (7 of 224 in the paper).
    """

    ball: Ball = L2()
    steps: PositiveInt = 20_000
    step_size: PositiveFloat = 0.2
    pixels: bool = False
    freq_dims: PositiveFraction = 1 / 8
    stride: PositiveFraction = 1 / 32

    norms: ClassVar[tuple[type[Ball], ...]] = (L2, Linf)
    alternative: ClassVar[str] = "Square or PGD"
    uses_region: ClassVar[bool] = True

    def check(self, region: Region) -> None:
        """Raise as every attack does, and InputError for cosines where inputs have no pixels."""
        super().check(region)
        if not self.pixels and not isinstance(region.inputs, Images):
            raise InputError(f"SimBA's cosines are of pixels, and these are {region.inputs.plural}; pass pixels=True")

    def init(self, oracle: Scores, batch: Batch) -> SimBAState:
        region, x, zero = oracle.region, oracle.region.x, torch.zeros_like(oracle.key.indices)
        order = draw_directions(oracle.key, region, self.freq_dims, self.stride, self.pixels)[:, : self.steps].clone()
        delta, margin = torch.zeros_like(x), oracle.score(x).margin
        count = region.dimension.long() if self.pixels else torch.full_like(zero, x[0].numel())
        return SimBAState(delta, margin, order, zero, delta, margin, zero > 0, zero, count)

    def step(self, oracle: Scores, state: SimBAState, t: int) -> SimBAState:
        region, size = oracle.region, self.step_size * oracle.region.inputs.scale
        place = state.tried % state.directions.clamp(max=state.order.shape[1])
        direction = state.order.gather(1, place[:, None])
        up, down = room_along(region, state.candidate, direction, self.pixels)
        step = torch.where(up >= down, size, -size).to(region.x.dtype)
        trial = move_along(region, state.candidate, direction, step.masked_fill(state.confirming, 0.0), self.pixels)
        margin = oracle.score(region.x + trial).margin
        better = margin > state.margin
        settled = (margin > state.predicted) | state.confirming
        both_sides = torch.minimum(up, down) > 0
        mirrored = torch.where(both_sides, 2 * state.predicted - margin, state.predicted)
        other = move_along(region, state.candidate, direction, torch.where(both_sides, -step, 0.0), self.pixels)
        best = torch.where(better, margin, state.margin)
        delta = torch.where(rowwise(better, trial), trial, state.delta)
        return replace(
            state,
            delta=delta,
            margin=best,
            candidate=torch.where(rowwise(settled, trial), delta, other),
            predicted=torch.where(settled, best, mirrored),
            confirming=~better & ~state.confirming & (state.predicted > state.margin),
            tried=state.tried + ~state.confirming,
            idle=torch.where(better, 0, state.idle + ~state.confirming),
        )

    def done(self, state: SimBAState) -> Tensor:
        return state.idle >= state.directions
