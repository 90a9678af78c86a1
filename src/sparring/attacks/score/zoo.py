"""Zeroth-order optimisation (Chen et al. 2017, arXiv:1708.03999, algorithms 1 and 2).

Carlini and Wagner's objective without gradients,

    minimise  |x' - x|_2^2 + c * max(confidence - margin(x'), 0),   x' in [0, 1],

by coordinate descent: a set of coordinates per step, the slope of each from finite differences, and Adam with moments
and a count of steps *per coordinate*. Images larger than `grid_size` are moved cell by cell of a coarse grid (section
3.3).

Departures: differences are one-sided, from one shared answer, which halves the queries, and of the margin only, since
the slope of the distance is known. Coordinates are drawn without replacement until all had their turn. Where a row
succeeds, the hinge is flat: the whole perturbation shrinks, for one query. Instead of rounds of bisection, c grows
while a row fails and falls when it succeeds; this, the shrinking and the learning rate slow down as that recurs. c and
the learning rate start from what suits a linear model with the slopes of the first set, and so does Adam's epsilon
(1e-8 in the paper), without which noise moves coordinates that do not matter as far as the others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from ...access import Batch, Bounds, NonNegativeFloat, PositiveFloat, PositiveInt, Scores
from ...geometry import L2, Ball, tiny
from ...geometry.region import Region
from ...inputs import Images
from ..adam import Adam
from ..minimum_norm import MinimumNormAttack
from .coordinates import draw_coordinates, finite_differences, grid_room, upsample

EPSILON = 1e-8  # of Adam, where the first slopes are 0; elsewhere the root mean square of the first gradient
GROWTH, SHRINK = 1.5, 0.05  # of c, and of the perturbation where the row succeeds; at first
RATE_FACTOR = 6.0  # the learning rate, in root mean squares of the perturbation that crosses a linear model


@dataclass(frozen=True)
class ZOOState:
    """The perturbation of each row on its grid, and Adam's moments per coordinate; (B,) unless stated otherwise."""

    delta: Tensor  # (B, C, h, w); of the shape of the inputs if these are no images
    adam: Adam  # like delta
    count: Tensor  # like delta, int32: Adam's steps of each coordinate
    const: Tensor  # c
    crossings: Tensor  # how often the row has crossed the boundary
    failed: Tensor  # bool: at the last step
    learning_rate: Tensor
    epsilon: Tensor  # of Adam

    @property
    def pace(self) -> Tensor:
        """The factor (B,) that slows down a row with the number of its crossings: 1 / sqrt(1 + crossings)."""
        return (1 + self.crossings).rsqrt()


@dataclass(frozen=True)
class ZOO(MinimumNormAttack[Scores, ZOOState]):
    """Find the smallest L2 norm from scores, a set of coordinates at a time.

    Args:
        ball: L2; a finite eps asks for examples within it.
        steps: Adam steps (3,000 in the paper for MNIST and CIFAR-10).
        nb_parallel: the number of coordinates measured per step (128 in the paper's code), a query each.
        learning_rate: Adam's step size in pixel values (0.01 in the paper for MNIST, 0.002 for ImageNet); None: per
            row.
        variable_h: the length of the finite differences in pixel values (1e-4 in the paper).
        grid_size: cells per side of the grid at most (32 in the paper for ImageNet).
        confidence: the margin that an example must exceed to count.
    """

    ball: Ball = L2()
    steps: PositiveInt = 3000
    nb_parallel: PositiveInt = 128
    learning_rate: PositiveFloat | None = None
    variable_h: Annotated[float, Bounds(gt=0, lt=0.5)] = 1e-3
    grid_size: PositiveInt = 32
    confidence: NonNegativeFloat = 0.0

    norms: ClassVar[tuple[type[Ball], ...]] = (L2,)
    alternative: ClassVar[str] = "Square or SimBA"

    def init(self, oracle: Scores, batch: Batch) -> ZOOState:
        region, x, zero = oracle.region, oracle.region.x, torch.zeros_like(oracle.region.eps)
        images = isinstance(region.inputs, Images)
        grid = [min(self.grid_size, side) if images else side for side in x.shape[2:]]
        delta = x.new_zeros(*x.shape[:2], *grid)
        return ZOOState(delta, Adam.zeros_like(delta), delta.int(), zero, zero, zero < 0, zero, zero)

    def step(self, oracle: Scores, state: ZOOState, t: int) -> ZOOState:
        region = oracle.region
        images = region.clamp_(region.x + upsample(state.delta, region.x))
        margin = oracle.score(images).margin
        gap = self.confidence - margin
        failed = gap >= 0
        down, up = grid_room(region, images, state.delta)
        coordinates = draw_coordinates(oracle, (down + up).flatten(1) > 0, self.nb_parallel, t)
        rows, h = failed.nonzero().squeeze(1), self.variable_h * region.inputs.scale
        slope = torch.zeros_like(coordinates, dtype=images.dtype)
        if len(rows):
            slope[rows] = finite_differences(oracle, images, margin, state.delta, coordinates, rows, h)
        if t == 0:
            state = self._scaled(region, state, gap, slope)
        pace, crossed = state.pace, state.failed & ~failed
        state = _descended(region, state, (-down, up), coordinates, slope, failed)
        factor = GROWTH**pace
        const = torch.where(crossed, state.const / factor**2, state.const)
        const = torch.where(failed, state.const * factor, const)
        return replace(state, const=const, crossings=state.crossings + crossed, failed=failed)

    def _scaled(self, region: Region, state: ZOOState, gap: Tensor, slope: Tensor) -> ZOOState:
        """The state with c and learning rate of a linear model whose other slopes are like those of the first set."""
        size = region.x[0].numel() / state.delta[0].numel()
        squares = slope.square().mean(1) * region.dimension / size**2  # of the image's gradient
        linear, divisor = squares > 0, squares.clamp_min(tiny(gap))
        const = torch.where(linear, 2 * gap / divisor, 1.0)
        epsilon = torch.where(linear, const * slope.square().mean(1).sqrt(), EPSILON)
        scale = region.inputs.scale
        typical = (gap / divisor.sqrt() / region.dimension.sqrt()).clamp(1e-5 * scale, 0.1 * scale)
        given = self.learning_rate
        rate = RATE_FACTOR * typical if given is None else torch.full_like(gap, given)
        return replace(state, const=const, learning_rate=rate.clamp(max=scale), epsilon=epsilon)


def _descended(
    region: Region,
    state: ZOOState,
    bounds: tuple[Tensor, Tensor],
    coordinates: Tensor,
    slope: Tensor,
    failed: Tensor,
) -> ZOOState:
    """The state after a step of Adam in the coordinates (B, k) where the row failed; elsewhere delta shrinks."""
    size = region.x[0].numel() / state.delta[0].numel()
    delta, mean, square, count = (
        part.flatten(1) for part in (state.delta, state.adam.mean, state.adam.square, state.count)
    )
    old, n = delta.gather(1, coordinates), count.gather(1, coordinates) + 1
    grad = 2 * size * old - state.const[:, None] * slope
    rate = (state.learning_rate * state.pace)[:, None]
    adam = Adam(mean.gather(1, coordinates), square.gather(1, coordinates))
    update, adam = adam.step(grad, rate, n, epsilon=state.epsilon)
    moved = delta.scatter(1, coordinates, old - update).clamp(*(bound.flatten(1) for bound in bounds))

    def where_failed(new: Tensor, other: Tensor) -> Tensor:
        return torch.where(failed[:, None], new, other).view_as(state.delta)

    return replace(
        state,
        delta=where_failed(moved, delta * (1 - SHRINK * state.pace)[:, None]),
        adam=Adam(
            where_failed(mean.scatter(1, coordinates, adam.mean), mean),
            where_failed(square.scatter(1, coordinates, adam.square), square),
        ),
        count=where_failed(count.scatter(1, coordinates, n), count),
    )
