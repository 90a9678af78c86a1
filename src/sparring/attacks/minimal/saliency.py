"""The saliency map of JSMA: the two losses whose gradients it is made of, and its largest pair of features."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...geometry import tiny
from ...goals import LogitClimb, Terms

CELLS = 2**21  # pairs that are compared at once


@dataclass(frozen=True)
class OwnLogit(LogitClimb):
    """The logit of the class itself: it rises toward a target, it falls away from a label; else the margin."""

    def of_logits(self, logits: Tensor, classes: Tensor, every: bool) -> Tensor:
        own = logits.gather(1, classes[:, None]).squeeze(1)
        return own if every else -own

    def of(self, terms: Terms) -> Tensor:
        return terms.margin


@dataclass(frozen=True)
class OtherLogits(LogitClimb):
    """The sum of the other logits: it falls toward a target, it rises away from a label; of other goals the margin."""

    def of_logits(self, logits: Tensor, classes: Tensor, every: bool) -> Tensor:
        others = logits.sum(1) - logits.gather(1, classes[:, None]).squeeze(1)
        return -others if every else others

    def of(self, terms: Terms) -> Tensor:
        return terms.margin


def best_pair(u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pair (B, 2) with the largest (u_p + u_q) (v_p + v_q), both sums above 0, and (B,) whether one exists.

    Memory is linear in the features. The product grows in u and in v, so a feature that two others beat in both is left
    out: of the 150,528 of a photograph about ten remain. In the order of falling u, a feature has been beaten twice if
    its v is not above the second largest before it.

    Args:
        u, v: (B, n) the gains of each feature; -inf: the feature is out of the search.
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
        sum_u, sum_v = (side[:, start : start + stride, None] + side[:, None] for side in (u, v))
        product = torch.where((sum_u > 0) & (sum_v > 0), sum_u * sum_v, 0).triu_(start + 1).flatten(1)
        top, cell = product.max(dim=1)
        here = torch.stack((start + cell // width, cell % width), dim=1)
        pair, best = torch.where((top > best)[:, None], here, pair), torch.maximum(top, best)
    return order.gather(1, front.gather(1, pair)), best > 0
