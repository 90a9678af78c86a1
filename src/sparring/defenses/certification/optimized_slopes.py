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
from .concretize import InputSet
from .graph import Network, Weights
from .intervals import Interval
from .linear_bounds import MEMORY, Coefficients, Relaxed, relaxed_intervals
from .windows import Windows

SMOOTH = 0.1  # learning rate of the slopes of smooth activations, whose first choice is nearly right, over ReLU's


@dataclass(frozen=True)
class SlopeSearch:
    """How slopes are optimised.

    Args:
        steps: of Adam.
        learning_rate: of the first step; in units of slopes.
        decay: of the learning rate, per step.
        enough: no more steps are taken once every bound exceeds it.
        intermediate: the bounds of the activations are optimised too: tighter, and about `steps` times dearer.
    """

    steps: int = 30
    learning_rate: float = 0.1
    decay: float = 0.98
    enough: float = torch.inf
    intermediate: bool = False


class OptimizedBounds(NamedTuple):
    """Lower bounds (B, S), and for each activation the slopes that gave them (B, S, ...)."""

    least: Tensor
    slopes: dict[int, Slopes]


def optimized_bounds(
    relaxed: Relaxed, start: int, coefficients: Coefficients, search: SlopeSearch | None = None
) -> OptimizedBounds:
    """Return lower bounds of <coefficients (B, S, ...), h> for the values h of the node `start`.

    Weights and intervals are those of a computation without gradients, and so is the result.
    """
    search = SlopeSearch() if search is None else search
    rows = len(relaxed.inputs)
    if isinstance(coefficients, Windows):
        coefficients = coefficients.expand(rows)
    else:
        coefficients = coefficients.expand(rows, *coefficients.shape[1:])
    count = coefficients.shape[1]
    slopes = {
        number: Slopes(
            *(one.detach().expand(len(one), count, *one.shape[2:]).clone() for one in relaxed.slopes[number])
        )
        for number in _before(relaxed, start)
    }
    with torch.no_grad():
        best = OptimizedBounds(relaxed.bound(start, coefficients).least, dict(slopes))
    groups = []
    for number, pair in slopes.items():
        free = [one.requires_grad_() for one in free_slopes(relaxed, number, pair)]
        groups.append({"params": free, "lr": search.learning_rate * (1 if len(free) == 1 else SMOOTH)})
    if not groups or search.steps < 1:
        return best
    optimizer = torch.optim.Adam(groups)
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


def optimized_intervals(
    network: Network, weights: Weights, inputs: InputSet, search: SlopeSearch, memory: float = MEMORY
) -> list[Interval]:
    """Return intervals of all nodes, those that activations take bounded with slopes optimised for each bound."""

    def bounder(relaxed: Relaxed, start: int, coefficients: Coefficients) -> Tensor:
        return optimized_bounds(relaxed, start, coefficients, replace(search, enough=torch.inf)).least

    return relaxed_intervals(network, weights, inputs, bounder=bounder, memory=memory, with_gradients=True)


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
