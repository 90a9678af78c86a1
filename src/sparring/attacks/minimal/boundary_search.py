"""Root finding for the decision boundary between the input (0) and the best example (1), with few queries."""

from __future__ import annotations

import torch
from torch import Tensor

from ...access import Scores
from ...geometry import rowwise, tiny

OVERSHOOT = 1e-4  # of the secant, so that it ends on the side that succeeds
SAFETY = 0.9  # share of the Newton step that is taken: whole steps would end on the wrong side half of the time


def illinois_search(oracle: Scores, best: Tensor, margins: Tensor, rows: Tensor, queries: int) -> None:
    """Query points between the inputs and the best examples, by the secant method (Illinois).

    Args:
        best: (B, ...) the examples.
        margins: (B, 2) at the inputs and at the examples.
        rows: (Q,) int64, the rows that have an example.
        queries: per row.
    """
    x = oracle.region.x[rows]
    way = best[rows] - x
    below, above = margins[rows].unbind(1)
    low, high, last = torch.zeros_like(below), torch.ones_like(above), torch.zeros_like(above)
    for _ in range(queries if len(rows) else 0):
        place = low + (high - low) * (below / (below - above)).nan_to_num(0.5)
        place = torch.minimum(place * (1 + OVERSHOOT), (low + high) / 2 + (high - low) * 0.499)
        margin = oracle.score(x + way * rowwise(place, way), rows=rows).margin
        found, again = margin > 0, 0.5 ** (margin.sign() == last)  # the end that stays twice counts half
        below, above = torch.where(found, below * again, margin), torch.where(found, margin, above * again)
        low, high, last = torch.where(found, low, place), torch.where(found, place, high), margin.sign()


def newton_search(oracle: Scores, best: Tensor, margin: Tensor, slope: Tensor, rows: Tensor, queries: int) -> None:
    """Query points between the inputs and the best examples, by Newton's method, then by the secant method.

    Args:
        best: (B, ...) the examples.
        margin: (B,) at the examples.
        slope: (B,) the growth of the margin on the whole segment, linearised at the example.
        rows: (Q,) int64, the rows that have an example.
        queries: per row.
    """
    x, way = oracle.region.x[rows], (best - oracle.region.x)[rows]
    above, first = margin[rows], slope[rows].clamp_min(tiny(x))
    low, high, below = torch.zeros_like(above), torch.ones_like(above), torch.full_like(above, -torch.inf)
    for _ in range(queries):
        secant = torch.where(below.isfinite(), (above - below) / (high - low), first)
        place = torch.maximum(high - SAFETY * above / secant, (low + high) / 2)
        answer = oracle.score(x + rowwise(place, x) * way, rows).margin
        found = answer > 0
        high, above = torch.where(found, place, high), torch.where(found, answer, above)
        low, below = torch.where(found, low, place), torch.where(found, below, answer)
