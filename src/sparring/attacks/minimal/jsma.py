"""Jacobian-based saliency map attack (Papernot et al. 2016, arXiv:1511.07528, algorithm 3).

    S(p, q) = -(a_p + a_q) (b_p + b_q)      where a_p + a_q > 0 and b_p + b_q < 0, else 0
    x_p, x_q = x_p + theta, x_q + theta     for the pair of features with the largest S

a is the gradient of the target's output, b that of the sum of the others'; for theta < 0 both change sign. The
outputs are the softmax (JSMA-F) or the logits (JSMA-Z), as Carlini & Wagner (2017) name them. Where a label is to be
left and no class is named, a and b change sign (Wiyatno & Xu 2018, arXiv:1808.07945, NT-JSMA): the label's output
falls, the others' rise. The best pair is found exactly (`best_pair`).

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

from ...access import Attack, Batch, Gradients, PositiveFraction, PositiveInt
from ...errors import ConfigError
from ...geometry import L0, Ball, rowwise
from ...goals import Climb, LogOdds
from .saliency import OtherLogits, OwnLogit, best_pair


@dataclass(frozen=True)
class JSMAState:
    """The current images, and the rows that have ended."""

    image: Tensor  # (B, ...)
    over: Tensor  # (B,) bool


@dataclass(frozen=True)
class JSMA(Attack[Gradients, JSMAState]):
    """Change few features, two at a time, for targeted and untargeted goals.

    Args:
        ball: L0; a finite eps is the number of features that may change.
        theta: what a step adds to both features, in units of the inputs' scale; negative to darken (1 in the paper:
            once moved, they are saturated). Features at the edge of the valid range are out of the search.
        gamma: the share of the features that may change (0.145 in the paper); n * gamma / 2 steps are taken at most.
        steps: pairs at most, whatever gamma allows.
        logits: whether to search on the logits instead of the softmax: two gradients a step instead of one.

    Raises:
        ConfigError: for a theta that is 0 or not finite.
    """

    ball: Ball = field(default_factory=L0)
    theta: float = 1.0
    gamma: PositiveFraction = 0.145
    steps: PositiveInt = 1000
    logits: bool = False

    norms: ClassVar[tuple[type[Ball], ...]] = (L0,)
    alternative: ClassVar[str] = "FMN"
    uses_region: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.theta == 0 or not math.isfinite(self.theta):
            raise ConfigError(f"JSMA theta={self.theta}; pass a finite number other than 0")

    def init(self, oracle: Gradients, batch: Batch) -> JSMAState:
        return JSMAState(oracle.region.x, torch.zeros_like(oracle.key.indices, dtype=torch.bool))

    def step(self, oracle: Gradients, state: JSMAState, t: int) -> JSMAState:
        region, image = oracle.region, state.image
        limit = (region.dimension * self.gamma / 2).long()  # of each row
        if t >= max(1, int(limit.amax())):
            return replace(state, over=torch.ones_like(state.over))
        losses: tuple[Climb, ...] = (OwnLogit(), OtherLogits()) if self.logits else (LogOdds(),)
        move = (region.clamp_(image + self.theta * region.inputs.scale) - image).flatten(1)
        grads = [oracle.gradient(image, loss=loss).grad.flatten(1) for loss in losses]
        gains = [(grad * move).where(move != 0, -torch.inf) for grad in grads]
        pair, found = best_pair(gains[0], gains[-1])
        moved = region.clamp_(image.flatten(1).scatter_add(1, pair, move.gather(1, pair)).view_as(image))
        found &= (region.norm(moved - region.x) <= region.eps) & (t < limit)
        state = replace(state, image=torch.where(rowwise(found, image), moved, image), over=~found)
        last = (found & (t + 1 == limit)).nonzero().squeeze(1)
        if len(last):  # whose result no further step asks about
            oracle.score(state.image[last], rows=last)
            state = replace(state, over=state.over | (t + 1 >= limit))
        return state

    def done(self, state: JSMAState) -> Tensor:
        return state.over

    def finish(self, oracle: Gradients, state: JSMAState) -> None:
        oracle.score(state.image)
