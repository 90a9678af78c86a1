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
from ...errors import ConfigError, ThreatError
from ...geometry import L2, Ball, Linf, Region, tiny

CHUNK = 1 << 16  # numbers per row in one set of directions: memory stays flat

Draw = Callable[[str, tuple[int, ...], int, torch.dtype], Tensor]  # Key.normal or Key.signs


@dataclass(frozen=True)
class Slope:
    """What the probes around one iterate told."""

    grad: Tensor  # (B, C, H, W)
    margin: Tensor  # (B,) their mean


def slope(
    oracle: Scores, ball: Ball, region: Region, images: Tensor, draw: Draw, samples: int, probe: float, t: int
) -> Slope:
    """The estimate at `images` (B, C, H, W) from `samples` queries per row, two to a direction."""
    flat, pairs = images.flatten(1), samples // 2
    b, d = flat.shape
    grad, total = torch.zeros_like(flat), torch.zeros_like(flat[:, 0])
    size = max(1, CHUNK // d)
    for start in range(0, pairs, size):
        n = min(size, pairs - start)
        directions = draw("directions", (n, d), t * 1_000_003 + start, flat.dtype)
        probes = torch.cat((directions, -directions), 1).mul_(probe).add_(flat[:, None])
        rows = torch.arange(b, device=flat.device).repeat_interleave(2 * n)
        probes = within_(ball, probes, region).view(-1, *images.shape[1:])
        margin = oracle.score(probes, rows=rows).margin.view(b, 2 * n)
        grad += directions.mul_(rise(margin[:, :n], margin[:, n:])[:, :, None]).sum(1)
        total += margin.sum(1)
    return Slope(grad.div_(2 * probe * pairs).view_as(images), total / (2 * pairs))


def rise(ahead: Tensor, behind: Tensor) -> Tensor:
    """The difference of two answers; 0 where there was none."""
    return (ahead - behind).nan_to_num_(0.0, 0.0, 0.0)


def within_(ball: Ball, probes: Tensor, region: Region) -> Tensor:
    """Images (B, n, d) moved into their row's region: clipped, and in L2 scaled towards the original."""
    if region.lower is not None and region.upper is not None:
        return probes.clamp_(region.lower.flatten(1)[:, None], region.upper.flatten(1)[:, None])
    x = region.x.flatten(1)[:, None]
    delta = probes.clamp_(0, 1).sub_(x)
    length: Tensor = delta.norm(dim=2, keepdim=True)
    return delta.mul_((ball.eps / length.clamp_min_(tiny(delta))).clamp_(max=1)).add_(x)


def check(attack: str, ball: Ball, **numbers: float | None) -> None:
    """ThreatError for a ball that attacks by slope do not know, ConfigError for a number that is not above 0."""
    if not isinstance(ball, Linf | L2):
        raise ThreatError(f"{attack} knows Linf and L2, not {ball}; use Square (L1) or PGD there")
    ball.bounded(attack)
    for name, value in numbers.items():
        if value is not None and not value > 0:
            raise ConfigError(f"{attack} {name}={value}; pass a number above 0")
    samples = numbers.get("samples")
    if samples is not None and samples % 2:
        raise ConfigError(f"{attack} samples={samples}; pass an even number, two queries to a direction")
