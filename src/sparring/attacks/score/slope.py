"""The slope of the margin from scores alone: central differences along random directions.

    g = 1 / (2 h n) sum_b (f(x + h u_b) - f(x - h u_b)) u_b,    E[u u^T] = 1

Each probe is moved into the ball and the valid range, so one that wins is an example, and iterates need no query of
their own: half of the probes around a winning one win. Clipping leaves the estimate's signs: a component at its bound
moves in one probe of the pair only, by as much whichever that is, and counts half.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ...access import Scores
from ...errors import ConfigError

CHUNK = 1 << 16  # numbers per row in one set of directions: memory stays flat

Draw = Callable[[str, tuple[int, ...], int, torch.dtype], Tensor]  # Key.normal or Key.signs


@dataclass(frozen=True)
class Slope:
    """What the probes around one iterate told."""

    grad: Tensor  # (B, ...)
    margin: Tensor  # (B,) their mean


def slope(oracle: Scores, images: Tensor, draw: Draw, samples: int, probe: float, t: int) -> Slope:
    """The estimate at `images` (B, ...) from `samples` queries per row, two to a direction."""
    region, pairs, shape = oracle.region, samples // 2, images.shape[1:]
    b, d = images.flatten(1).shape
    grad, total = torch.zeros_like(images), torch.zeros_like(region.eps)
    size = max(1, CHUNK // d)
    for start in range(0, pairs, size):
        n = min(size, pairs - start)
        directions = draw("directions", (n, *shape), t * 1_000_003 + start, images.dtype)
        probes = torch.cat((directions, -directions), 1).mul_(probe).add_(images[:, None])
        rows = torch.arange(b, device=images.device).repeat_interleave(2 * n)
        margin = oracle.score(region.nearest_many_(probes).flatten(0, 1), rows=rows).margin.view(b, 2 * n)
        grad += directions.mul_(rise(margin[:, :n], margin[:, n:]).view(b, n, *[1] * len(shape))).sum(1)
        total += margin.sum(1)
    return Slope(region.masked(grad.div_(2 * probe * pairs)), total / (2 * pairs))


def rise(ahead: Tensor, behind: Tensor) -> Tensor:
    """The difference of two answers; 0 where there was none."""
    return (ahead - behind).nan_to_num_(0.0, 0.0, 0.0)


def check(attack: str, **numbers: float | None) -> None:
    """Raise ConfigError for a number that is not above 0."""
    for name, value in numbers.items():
        if value is not None and not value > 0:
            raise ConfigError(f"{attack} {name}={value}; pass a number above 0")
    samples = numbers.get("samples")
    if samples is not None and samples % 2:
        raise ConfigError(f"{attack} samples={samples}; pass an even number, two queries to a direction")
