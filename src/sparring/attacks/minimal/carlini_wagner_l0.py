"""The L0 attack of Carlini & Wagner (2017, arXiv:1608.04644, section VI-B).

    minimise  |x' - x|_2^2 + c * max(confidence - margin(x'), 0)   over the sites still allowed to move;
    once it succeeds, drop those with the least |g_i * delta_i|, g = grad margin(x'), and go on from there

until no fewer sites will do. A site is a component, or with `L0(pixels=True)`, the default, a pixel in all its
channels.

Departures: a row drops a share of its sites as soon as it succeeds, and half as many where that fails, instead of
one at a time after a whole descent; c grows by `const_factor` with every step that does not succeed; Adam works on the
image itself, clipped (the paper's second way to keep the box), since through tanh black and white pixels hardly move.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from ...access import (
    Batch,
    Bounds,
    Gradients,
    NonNegativeFloat,
    OpenFraction,
    PositiveFloat,
    PositiveInt,
    margin_objective,
)
from ...geometry import L0, Ball, rowwise, tiny
from ...geometry.region import Region
from ..adam import Adam
from ..minimum_norm import MinimumNormAttack
from .constant_search import LARGEST, SMALLEST


@dataclass(frozen=True)
class CarliniWagnerL0State:
    """Each row's descent over the allowed sites, and the last set of sites that sufficed."""

    image: Tensor  # (B, ...)
    allowed: Tensor  # bool: (B, ...) like the inputs, but with 1 for what a site has several of
    adam: Adam
    steps: Tensor  # (B,) int64: with this set
    const: Tensor  # (B,) c; NaN before the first step
    best: Tensor  # (B, ...) the last image that succeeded
    saliency: Tensor  # (B, sites) |g * delta| there
    count: Tensor  # (B,) int64: how many sites it moved; 0: none has succeeded
    dropped: Tensor  # (B,) int64: how many of them are left out


@dataclass(frozen=True)
class CarliniWagnerL0(MinimumNormAttack[Gradients, CarliniWagnerL0State]):
    """Find the smallest number of changed pixels, or components, by elimination.

    Args:
        ball: L0, counting pixels by default; a finite eps asks for examples within it.
        steps: gradient steps at most; rows that can drop no more sites end before.
        patience: steps in which a smaller set must succeed.
        drop_fraction: the share of the moved sites that is dropped at once.
        learning_rate: Adam's step size, in pixel values (0.01 in w in the paper's code).
        const_factor: the growth of c with each step that does not succeed (the paper's code doubles it after a whole
            descent).
        confidence: the margin that an example must exceed to count.
        warm_start: whether to go on from the last image that succeeded, as in the paper; False: start each set at the
            image.
    """

    ball: Ball = field(default_factory=lambda: L0(pixels=True))
    steps: PositiveInt = 1000
    patience: PositiveInt = 20
    drop_fraction: OpenFraction = 0.1
    learning_rate: PositiveFloat = 0.1
    const_factor: Annotated[float, Bounds(ge=1)] = 1.1
    confidence: NonNegativeFloat = 0.0
    warm_start: bool = True

    norms: ClassVar[tuple[type[Ball], ...]] = (L0,)
    alternative: ClassVar[str] = "CarliniWagner or CarliniWagnerLinf"

    def init(self, oracle: Gradients, batch: Batch) -> CarliniWagnerL0State:
        region, x = oracle.region, oracle.region.x
        free = region.ball.sum_per_site(region.masked(torch.ones_like(x))) > 0
        none, saliency = torch.zeros_like(oracle.key.indices), torch.zeros_like(free, dtype=x.dtype)
        const, allowed = torch.full_like(region.eps, torch.nan), region.ball.spread(free, x)
        return CarliniWagnerL0State(x, allowed, Adam.zeros_like(x), none, const, x, saliency, none, free.sum(1))

    def step(self, oracle: Gradients, state: CarliniWagnerL0State, t: int) -> CarliniWagnerL0State:
        region, x = oracle.region, oracle.region.x
        delta, steps = state.image - x, state.steps + 1
        answer = oracle.gradient(state.image, objective=margin_objective)
        found, grad = answer.verdict.margin > self.confidence, region.masked(answer.grad)
        linear = 2 * (self.confidence - answer.value) / grad.flatten(1).square().sum(1).clamp_min(tiny(x))
        const = torch.where(state.const.isnan(), linear, state.const * torch.where(found, 1, self.const_factor))
        const = const.clamp(SMALLEST, LARGEST)
        slope = (2 * delta - grad * rowwise(const * ~found, x)) * state.allowed
        update, adam = state.adam.step(slope, self.learning_rate * region.inputs.scale, steps)
        image = torch.where(state.allowed, region.clamp_(state.image - update), x)
        count = region.norm(delta).long()
        better = found & ((count < state.count) | (state.count == 0))
        best = torch.where(rowwise(better, x), state.image, state.best)
        saliency = torch.where(better[:, None], _saliency(region, grad, delta), state.saliency)
        count = torch.where(better, count, state.count)
        failed = ~better & (steps >= self.patience) & (count > 0)
        most = (count * self.drop_fraction).long().clamp_min(1)
        dropped = torch.where(failed, state.dropped // 2, state.dropped)
        dropped = torch.where(better, torch.minimum(dropped.clamp_min(1), most), dropped)
        rank = saliency.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        restarted = rowwise(better | failed, x)
        kept = region.ball.spread(rank < (count - dropped)[:, None], x)
        allowed = torch.where(restarted, kept, state.allowed)
        image = torch.where(restarted, torch.where(allowed, best, x) if self.warm_start else x, image)
        adam, steps = adam.reset_(better | failed), steps * ~(better | failed)
        return CarliniWagnerL0State(image, allowed, adam, steps, const, best, saliency, count, dropped)

    def done(self, state: CarliniWagnerL0State) -> Tensor:
        return (state.count == 1) | (state.dropped == 0)


def _saliency(region: Region, grad: Tensor, delta: Tensor) -> Tensor:
    """|g * delta| per site (B, sites), below which come the sites that did not move."""
    moved = region.ball.sum_per_site((delta != 0).to(grad.dtype)) > 0
    return torch.where(moved, region.ball.sum_per_site((grad * delta).abs()), -1)
