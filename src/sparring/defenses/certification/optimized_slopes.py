"""alpha-CROWN (Xu et al. 2021, arXiv:2011.13824): slopes of the lines optimised for each linear function apart.

Any slopes give sound bounds, so Adam ascends the bounds, and the best of each is kept: none is worse than CROWN's,
where the ascent begins.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from .activations import Activation, Hinge, Slopes
from .linear_bounds import Relaxed


@dataclass(frozen=True)
class SlopeSearch:
    """How slopes are optimised.

    Args:
        steps: of Adam.
        learning_rate: of the first step; in units of slopes.
        decay: of the learning rate, per step.
        enough: no more steps are taken once every bound exceeds it.
    """

    steps: int = 30
    learning_rate: float = 0.1
    decay: float = 0.98
    enough: float = torch.inf


class OptimizedBounds(NamedTuple):
    """Lower bounds (B, S), and for each activation the slopes that gave them (B, S, ...)."""

    least: Tensor
    slopes: dict[int, Slopes]


def optimized_bounds(
    relaxed: Relaxed, start: int, coefficients: Tensor, search: SlopeSearch | None = None
) -> OptimizedBounds:
    """Return lower bounds of <coefficients (B, S, ...), h> for the values h of the node `start`.

    Weights and intervals are those of a computation without gradients, and so is the result.
    """
    search = SlopeSearch() if search is None else search
    coefficients = coefficients.expand(len(relaxed.inputs), *coefficients.shape[1:])
    count = coefficients.shape[1]
    slopes = {
        number: Slopes(
            *(one.detach().expand(len(one), count, *one.shape[2:]).clone() for one in relaxed.slopes[number])
        )
        for number in _before(relaxed, start)
    }
    with torch.no_grad():
        best = OptimizedBounds(relaxed.bound(start, coefficients).least, dict(slopes))
    free = [one.requires_grad_() for number, pair in slopes.items() for one in free_slopes(relaxed, number, pair)]
    if not free or search.steps < 1:
        return best
    optimizer = torch.optim.Adam(free, lr=search.learning_rate)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, search.decay)
    for step in range(search.steps + 1):
        if step and bool((best.least > search.enough).all()):
            break
        with torch.enable_grad():
            least = replace(relaxed, slopes=slopes).bound(start, coefficients).least
            loss = -least.sum()
        best = _better(best, OptimizedBounds(least.detach(), slopes))
        if step == search.steps:
            break
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        for number, pair in slopes.items():
            clamp_slopes_(relaxed, number, pair)
    return best


def free_slopes(relaxed: Relaxed, number: int, slopes: Slopes) -> list[Tensor]:
    """Return those of an activation's slopes that can be chosen: of ReLU the lower ones."""
    hinged = isinstance(relaxed.network.nodes[number].operation, Hinge)
    return [slopes.lower] if hinged else [slopes.lower, slopes.upper]


@torch.no_grad()
def clamp_slopes_(relaxed: Relaxed, number: int, slopes: Slopes) -> None:
    """Clamp the slopes of ReLU to those of its two pieces, so that none is stuck beyond them."""
    operation = relaxed.network.nodes[number].operation
    if isinstance(operation, Hinge):
        slopes.lower.clamp_(operation.slope, 1)


def _before(relaxed: Relaxed, start: int) -> list[int]:
    """The activations before a node."""
    network = relaxed.network
    needed = {start}
    for number in range(start, 0, -1):
        if number in needed:
            needed.update(network.nodes[number].operands)
    return [number for number in sorted(needed) if isinstance(network.nodes[number].operation, Activation)]


def _better(best: OptimizedBounds, found: OptimizedBounds) -> OptimizedBounds:
    improved = found.least > best.least
    slopes = {}
    for number, pair in found.slopes.items():
        where = improved.view(*improved.shape, *[1] * (pair.lower.ndim - 2))
        old = best.slopes[number]
        kept = (torch.where(where, new.detach(), old_one) for new, old_one in zip(pair, old, strict=True))
        slopes[number] = Slopes(*kept)
    return OptimizedBounds(torch.where(improved, found.least, best.least), slopes)
