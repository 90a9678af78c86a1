"""Jacobian-based saliency map attack (Papernot et al. 2016, arXiv:1511.07528, algorithm 3).

    S(p, q) = -(a_p + a_q) (b_p + b_q)      where a_p + a_q > 0 and b_p + b_q < 0, else 0
    x_p, x_q = x_p + theta, x_q + theta     for the pair of features with the largest S

a is the gradient of the target's output, b that of the sum of the others'; for theta < 0 both change sign. The
outputs are the softmax (JSMA-F) or the logits (JSMA-Z), as Carlini & Wagner (2017) name them. Where a label is to be
left and no class is named, a and b change sign (Wiyatno & Xu 2018, arXiv:1808.07945, NT-JSMA): the label's output
falls, the others' rise.

The best pair is found exactly, in memory linear in the features: S grows in a and in -b, so that a feature that two
others beat in both can be left out. Of the 150 528 of a photograph about ten remain.

Departures: a and b are taken times what theta can still add within the valid range, or nearly saturated features would
be moved for nothing. A row without a pair of S > 0 ends. Of the softmax the log-odds are climbed, which rank the pairs
alike (there b = -a, so S is (a_p + a_q)^2 and one gradient is enough) and do not underflow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Attack, Batch, Gradients
from ...errors import ConfigError
from ...geometry import L0, Ball, rowwise, tiny
from ...goals import Climb, LogitClimb, LogOdds, Terms

CELLS = 2**21  # pairs that are compared at once


@dataclass(frozen=True)
class Own(LogitClimb):
    """The logit of the class itself: it rises toward a target, it falls away from a label; else the margin."""

    def of_logits(self, logits: Tensor, classes: Tensor, every: bool) -> Tensor:
        own = logits.gather(1, classes[:, None]).squeeze(1)
        return own if every else -own

    def of(self, terms: Terms) -> Tensor:
        return terms.margin


@dataclass(frozen=True)
class Others(LogitClimb):
    """The sum of the other logits: it falls toward a target, it rises away from a label; of other goals the margin."""

    def of_logits(self, logits: Tensor, classes: Tensor, every: bool) -> Tensor:
        others = logits.sum(1) - logits.gather(1, classes[:, None]).squeeze(1)
        return -others if every else others

    def of(self, terms: Terms) -> Tensor:
        return terms.margin


@dataclass(frozen=True)
class Marks:
    """The images as they are now, and the rows that have come to their end."""

    image: Tensor
    over: Tensor


@dataclass(frozen=True)
class JSMA(Attack[Gradients, Marks]):
    """Few features, moved two by two, targeted or not.

    Args:
        theta: what a step adds to both features; negative to darken (1 in the paper: once moved, they are saturated).
            Features at the edge of the valid range are out of the search.
        gamma: share of the features that may change (0.145 in the paper); n * gamma / 2 steps are taken at most.
        steps: pairs at most, whatever gamma allows.
        logits: search on the logits instead of the softmax: two gradients a step instead of one.
        ball: L0; a finite eps is the number of features that may change.
    """

    theta: float = 1.0
    gamma: float = 0.145
    steps: int = 1000
    logits: bool = False
    ball: Ball = field(default_factory=L0)

    norms: ClassVar[tuple[type[Ball], ...]] = (L0,)
    elsewhere: ClassVar[str] = "FMN"
    regional: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.theta == 0 or not math.isfinite(self.theta) or not 0 < self.gamma <= 1:
            raise ConfigError(f"JSMA theta={self.theta}, gamma={self.gamma}; pass theta != 0 and 0 < gamma <= 1")
        if self.steps < 1:
            raise ConfigError(f"JSMA steps={self.steps}; pass at least 1")

    def init(self, oracle: Gradients, batch: Batch) -> Marks:
        return Marks(oracle.region.x, torch.zeros_like(oracle.key.indices, dtype=torch.bool))

    def step(self, oracle: Gradients, state: Marks, t: int) -> Marks:
        region, image = oracle.region, state.image
        limit = (region.dimension * self.gamma / 2).long()  # of each row
        if t >= max(1, int(limit.amax())):
            return replace(state, over=torch.ones_like(state.over))
        pull: tuple[Climb, ...] = (Own(), Others()) if self.logits else (LogOdds(),)
        way = (region.clamp_(image + self.theta * region.inputs.scale) - image).flatten(1)
        slopes = [oracle.gradient(image, loss=loss).grad.flatten(1) for loss in pull]
        gains = [(slope * way).where(way != 0, -torch.inf) for slope in slopes]
        pair, found = best_pair(gains[0], gains[-1])
        moved = region.clamp_(image.flatten(1).scatter_add(1, pair, way.gather(1, pair)).view_as(image))
        found &= (region.norm(moved - region.x) <= region.eps) & (t < limit)
        state = replace(state, image=torch.where(rowwise(found, image), moved, image), over=~found)
        last = (found & (t + 1 == limit)).nonzero().squeeze(1)
        if len(last):  # whose result no further step asks about
            oracle.score(state.image[last], rows=last)
            state = replace(state, over=state.over | (t + 1 >= limit))
        return state

    def done(self, state: Marks) -> Tensor:
        return state.over

    def finish(self, oracle: Gradients, state: Marks) -> None:
        oracle.score(state.image)


def best_pair(u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 2) the p != q with the largest (u_p + u_q) (v_p + v_q), both sums above 0, and (B,) whether there is one.

    In the order of falling u, a feature has been beaten twice if its v is not above the second largest before it.
    """
    u, order = u.sort(dim=1, descending=True, stable=True)
    v = v.gather(1, order)
    none = torch.full_like(v[:, :1], -torch.inf)
    largest = torch.cat((none, v.cummax(dim=1).values[:, :-1]), dim=1)
    second = torch.minimum(v, largest).cummax(dim=1).values
    kept = v > torch.cat((none, second[:, :-1]), dim=1)
    width = max(2, int(kept.sum(1).amax()))
    front = kept.byte().argsort(dim=1, descending=True, stable=True)[:, :width]
    kept = kept.gather(1, front)
    u, v = (side.gather(1, front).where(kept, -torch.inf) for side in (u, v))
    u, v = (side / side.amax(1, keepdim=True).clamp_min(tiny(side)) for side in (u, v))  # no product underflows

    best, pair = torch.zeros_like(u[:, 0]), torch.zeros_like(order[:, :2])
    stride = max(1, CELLS // u.numel())
    for start in range(0, width, stride):
        far, near = (s[:, start : start + stride, None] + s[:, None] for s in (u, v))
        value = torch.where((far > 0) & (near > 0), far * near, 0).triu_(start + 1).flatten(1)
        top, cell = value.max(dim=1)
        here = torch.stack((start + cell // width, cell % width), dim=1)
        pair, best = torch.where((top > best)[:, None], here, pair), torch.maximum(top, best)
    return order.gather(1, front.gather(1, pair)), best > 0
