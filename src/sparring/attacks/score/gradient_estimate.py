"""Finite-difference gradient estimates from scores: central differences along random directions.

    g = 1 / (2 h n) sum_b (f(x + h u_b) - f(x - h u_b)) u_b,    E[u u^T] = 1

Each query is moved into the ball and the valid range, so one that succeeds is an example, and iterates need no query of
their own: half of the queries around a successful one succeed. Clipping leaves the estimate's signs: a component at its
bound moves in one query of the pair only, by as much whichever that is, and counts half.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from ...access import Bounds, Scores
from ...errors import ConfigError

CHUNK = 1 << 16  # numbers per row in one set of directions: memory stays flat

Draw = Callable[[str, tuple[int, ...], int, torch.dtype], Tensor]  # Key.normal or Key.signs
SampleCount = Annotated[int, Bounds(ge=2)]


@dataclass(frozen=True)
class GradientEstimate:
    """The gradient estimated around one iterate, and the mean margin of its queries."""

    grad: Tensor  # (B, ...)
    margin: Tensor  # (B,) their mean


def estimate_gradient(oracle: Scores, images: Tensor, draw: Draw, n_samples: int, h: float, t: int) -> GradientEstimate:
    """Return the estimate at `images` (B, ...) from `n_samples` queries per row, two to a direction.

    Args:
        draw: draws directions of mean square 1, from the stream "directions".
        h: the distance of a query along its direction, in units of the inputs.
        t: the step, on which the draws depend.
    """
    region, pairs, shape = oracle.region, n_samples // 2, images.shape[1:]
    b, d = images.flatten(1).shape
    grad, total = torch.zeros_like(images), torch.zeros_like(region.eps)
    size = max(1, CHUNK // d)
    for start in range(0, pairs, size):
        n = min(size, pairs - start)
        directions = draw("directions", (n, *shape), t * 1_000_003 + start, images.dtype)
        queries = torch.cat((directions, -directions), 1).mul_(h).add_(images[:, None])
        rows = torch.arange(b, device=images.device).repeat_interleave(2 * n)
        margin = oracle.score(region.nearest_many_(queries).flatten(0, 1), rows=rows).margin.view(b, 2 * n)
        change = difference(margin[:, :n], margin[:, n:]).view(b, n, *[1] * len(shape))
        grad += directions.mul_(change).sum(1)
        total += margin.sum(1)
    return GradientEstimate(region.masked(grad.div_(2 * h * pairs)), total / (2 * pairs))


def difference(ahead: Tensor, behind: Tensor) -> Tensor:
    """Return the difference of two margins, 0 where a row got no answer."""
    return (ahead - behind).nan_to_num_(0.0, 0.0, 0.0)


def check_even(attack: str, n_samples: int) -> None:
    """Raise ConfigError for an odd number of samples."""
    if n_samples % 2:
        raise ConfigError(f"{attack} n_samples={n_samples}; pass an even number, two queries to a direction")
