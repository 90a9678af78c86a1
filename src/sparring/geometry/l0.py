"""The L0 ball: the number of changed components, or of changed sites (pixels, points)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ..errors import ThreatError
from ..random import Key
from .ball import Ball, Bound, Radius, outward, radii, rowwise, tiny


@dataclass(frozen=True)
class L0(Ball):
    """At most eps components moved; with `pixels`, at most eps sites in any of their components.

    `channel_axis` is the axis along which the components of a site lie, the batch being axis 0: 1 for images
    (B, C, H, W), 2 for points (B, N, 3). None: each component is a site of its own.
    """

    pixels: bool = False
    channel_axis: int | None = 1

    p: ClassVar[float] = 0.0
    sparse: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if math.isfinite(self.eps) and self.eps != int(self.eps):
            raise ThreatError(f"L0 epsilon {self.eps!r} is not a count; pass a whole number of components")

    def with_channel_axis(self, axis: int | None) -> L0:
        return self if axis == self.channel_axis else replace(self, channel_axis=axis)

    @property
    def grouped(self) -> bool:
        """As in the base class."""
        return self.pixels and self.channel_axis is not None

    def sum_per_site(self, values: Tensor) -> Tensor:
        return (values.sum(self.channel_axis) if self.grouped else values).flatten(1)

    def spread(self, sites: Tensor, like: Tensor) -> Tensor:
        shape = list(like.shape)
        if self.pixels and self.channel_axis is not None:
            shape[self.channel_axis] = 1
        return sites.view(shape)

    def norm(self, delta: Tensor) -> Tensor:
        return (self.sum_per_site((delta != 0).to(delta.dtype)) > 0).sum(1).to(delta.dtype)

    def dual_norm(self, grad: Tensor) -> Tensor:
        """As in L1, since a count has no dual: the gain per unit by which the best component moves."""
        return grad.flatten(1).abs().amax(1)

    def steepest(
        self, grad: Tensor, at: Tensor | None = None, movable: Tensor | None = None, dimension: Tensor | None = None
    ) -> Tensor:
        """The gradient over its L1 norm (Croce & Hein 2019, PGD0); the projection picks the pixels."""
        size = following(grad, at, movable)
        total = size.flatten(1).sum(1).clamp_min_(tiny(grad))
        return grad.sign() * size / rowwise(total, grad)

    def hyperplane_distance(self, slope: Tensor, gain: Tensor, lower: Bound, upper: Bound) -> Tensor:
        """Return how many sites, each moved to its bound, raise <slope, delta> by `gain`."""
        rise = torch.where(slope == 0, 0, slope.abs() * outward(slope, lower, upper))
        closed = self.sum_per_site(rise).sort(dim=1, descending=True).values.cumsum(1)
        return 1 + (closed < gain[:, None]).sum(1).to(gain.dtype)

    def project_between(self, delta: Tensor, lower: Bound, upper: Bound, radius: Tensor | None = None) -> Tensor:
        """Project exactly: keep the sites, clipped, whose removal would change the point most."""
        inside = delta.clamp(lower, upper)  # type: ignore[arg-type]
        gain = self.sum_per_site(delta.square() - (delta - inside).square())
        limit = radii(self.eps, radius, delta).clamp(max=gain.shape[1]).long()
        rank = gain.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        return inside * self.spread(rank < limit[:, None], delta)

    def draw(
        self, key: Key, x: Tensor, radius: Radius, free: Tensor | None, fresh: Callable[[], Tensor], stream: str
    ) -> Tensor:
        """As many sites as the radius, chosen at random among the free ones, each with a new random valid value."""
        value, shape = fresh(), list(x.shape)
        if self.pixels and self.channel_axis is not None:
            del shape[self.channel_axis]
        score = key.uniform(f"{stream} site", shape[1:], dtype=x.dtype).flatten(1)
        if free is not None:
            score = score.masked_fill(self.sum_per_site(free.to(x.dtype)) == 0, 2)
        limit = radii(self.eps, radius, x).clamp(max=score.shape[1]).long()
        kept = self.spread(score.argsort(dim=1).argsort(dim=1) < limit[:, None], x)
        return (value - x) * (kept if free is None else kept & free)

    def sample(self, key: Key, x: Tensor, stream: str = "ball") -> Tensor:
        return self.draw(key, x, self.eps, None, lambda: key.uniform(stream, x.shape[1:], dtype=x.dtype), stream)

    def prox(self, delta: Tensor, weight: Tensor) -> Tensor:
        kept = self.sum_per_site(delta.square()) >= 2 * weight[:, None]
        return delta * self.spread(kept, delta)


def following(grad: Tensor, at: Tensor | None, movable: Tensor | None) -> Tensor:
    """|grad|, and 0 where a component cannot follow: at an edge of [0, 1] in the images `at`, or not `movable`."""
    size = grad.abs()
    if at is not None:
        size = size * torch.where(grad > 0, at < 1, at > 0)
    return size if movable is None else size * movable
