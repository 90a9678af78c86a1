"""The L0 attack of Carlini & Wagner (2017, arXiv:1608.04644, section VI-B).

    minimise  |x' - x|_2^2 + c * max(confidence - margin(x'), 0)   over the sites still allowed to move;
    once across, drop those with the least |g_i * delta_i|, g = grad margin(x'), and go on from there

until no fewer sites will do. A site is a component, or with `L0(pixels=True)`, the default, a pixel in all its
channels.

Departures: a row drops a share of its sites as soon as it is across, and half as many where that fails, instead of
one at a time after a whole descent; c grows by `growth` with every step that is not across; Adam works on the image
itself, clipped (the paper's second way to keep the box), since through tanh black and white pixels hardly move.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Attack, Batch, Gradients, Keep, margin_objective
from ...errors import ConfigError
from ...geometry import L0, Ball, rowwise, tiny
from ...geometry.region import Region
from .carlini_wagner import BETA1, BETA2, EPSILON
from .constant import LARGEST


@dataclass(frozen=True)
class Elimination:
    """A descent over the allowed sites, and the last set of them that sufficed."""

    image: Tensor
    allowed: Tensor  # bool: (B, ...) like the inputs, but with 1 for what a site has several of
    mean: Tensor  # Adam's first and second moments
    square: Tensor
    tried: Tensor  # steps with this set
    c: Tensor
    best: Tensor  # the last image that was across
    gain: Tensor  # (B, sites) |g * delta| there
    count: Tensor  # how many sites it moved
    cut: Tensor  # how many of them are to be dropped


@dataclass(frozen=True)
class CarliniWagnerL0(Attack[Gradients, Elimination]):
    """Minimum number of changed pixels, or components, by elimination.

    Args:
        steps: gradient steps at most; rows that can drop no more sites end before.
        patience: steps in which a smaller set must get across.
        share: the part of the moved sites that is dropped at once.
        rate: Adam's step size, in pixel values (0.01 in w in the paper's code).
        growth: of c with each step that is not across (the paper's code doubles it after a whole descent).
        confidence: the margin that an example must exceed to count.
        warm_start: go on from the last image across, as the paper does; False: start each set at the image.
        ball: L0, counting pixels; a finite eps asks for examples within it.
    """

    steps: int = 1000
    patience: int = 20
    share: float = 0.1
    rate: float = 0.1
    growth: float = 1.1
    confidence: float = 0.0
    warm_start: bool = True
    ball: Ball = field(default_factory=lambda: L0(pixels=True))

    norms: ClassVar[tuple[type[Ball], ...]] = (L0,)
    elsewhere: ClassVar[str] = "CarliniWagner or CarliniWagnerLinf"
    regional: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1 or self.patience < 1 or not 0 < self.share < 1:
            raise ConfigError(
                f"CarliniWagnerL0 steps={self.steps}, patience={self.patience}, share={self.share}; "
                "pass steps and patience >= 1, and a share in (0, 1)"
            )
        if not (self.rate > 0 and self.growth >= 1 and self.confidence >= 0):
            raise ConfigError(
                f"CarliniWagnerL0 rate={self.rate}, growth={self.growth}, confidence={self.confidence}; "
                "pass rate > 0, growth >= 1 and a margin >= 0"
            )

    @property
    def keep(self) -> Keep:
        return Keep.SMALLEST

    def init(self, oracle: Gradients, batch: Batch) -> Elimination:
        region, x = oracle.region, oracle.region.x
        still, none = torch.zeros_like(x), torch.zeros_like(oracle.key.indices)
        free = region.ball.sum_per_site(region.masked(torch.ones_like(x))) > 0
        gain, c = torch.zeros_like(free, dtype=x.dtype), torch.full_like(region.eps, torch.nan)
        return Elimination(x, region.ball.spread(free, x), still, still, none, c, x, gain, none, free.sum(1))

    def step(self, oracle: Gradients, state: Elimination, t: int) -> Elimination:
        region, x = oracle.region, oracle.region.x
        delta = state.image - x
        answer = oracle.gradient(state.image, objective=margin_objective)
        gap = self.confidence - answer.value
        across = answer.verdict.margin > self.confidence
        grad = region.masked(answer.grad)
        linear = 2 * gap / grad.flatten(1).square().sum(1).clamp_min(tiny(x))
        c = torch.where(state.c.isnan(), linear, state.c * torch.where(across, 1, self.growth)).clamp(1e-6, LARGEST)
        slope = (2 * delta - grad * rowwise(c * ~across, x)) * state.allowed
        tried = state.tried + 1
        mean = state.mean.lerp(slope, 1 - BETA1)
        square = (state.square * BETA2).addcmul_(slope, slope, value=1 - BETA2)
        scale = self.rate * region.inputs.scale / (1 - BETA1 ** tried.to(x.dtype))
        root = (square / rowwise(1 - BETA2 ** tried.to(x.dtype), x)).sqrt_().add_(EPSILON)
        image = torch.where(state.allowed, region.clamp_(state.image - mean / root * rowwise(scale, x)), x)
        count = region.norm(delta).long()
        fits = across & ((count < state.count) | (state.count == 0))
        row = rowwise(fits, x)
        best = torch.where(row, state.image, state.best)
        gain = torch.where(fits[:, None], _gain(region, grad, delta), state.gain)
        count = torch.where(fits, count, state.count)
        lost = ~fits & (tried >= self.patience) & (count > 0)
        share = (count * self.share).long().clamp_min(1)
        cut = torch.where(lost, state.cut // 2, state.cut)
        cut = torch.where(fits, torch.minimum(state.cut.clamp_min(1), share), cut)
        fresh = fits | lost
        kept = gain.argsort(dim=1, descending=True, stable=True).argsort(dim=1) < (count - cut)[:, None]
        row = rowwise(fresh, x)
        allowed = torch.where(row, region.ball.spread(kept, x), state.allowed)
        start = torch.where(allowed, best, x) if self.warm_start else x
        return Elimination(
            torch.where(row, start, image),
            allowed,
            mean.masked_fill_(row, 0),
            square.masked_fill_(row, 0),
            tried * ~fresh,
            c,
            best,
            gain,
            count,
            cut,
        )

    def done(self, state: Elimination) -> Tensor:
        return (state.count == 1) | (state.cut == 0)


def _gain(region: Region, grad: Tensor, delta: Tensor) -> Tensor:
    """|g * delta| per site, below which come the sites that did not move."""
    moved = region.ball.sum_per_site((delta != 0).to(grad.dtype)) > 0
    return torch.where(moved, region.ball.sum_per_site((grad * delta).abs()), -1)
