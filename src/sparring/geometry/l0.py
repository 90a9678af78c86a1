"""L0: the number of components, or of whole sites (pixels, points), that a perturbation changes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ..errors import ThreatError
from ..random import Key
from ..shapes import BoolBatch, FloatBatch, FloatPerRow, FloatSites, Sites
from .ball import Ball, Bound, Radius, outward, radii, rowwise, tiny


@dataclass(frozen=True)
class L0(Ball):
    """The L0 ball: at most `eps` components are changed, or with `pixels` at most `eps` sites.

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
        """Return the ball with `channel_axis` set to this axis."""
        return self if axis == self.channel_axis else replace(self, channel_axis=axis)

    @property
    def grouped(self) -> bool:
        """Whether a site has several components: with `pixels`, where the inputs have a channel axis."""
        return self.pixels and self.channel_axis is not None

    def sum_per_site(self, values: FloatBatch) -> FloatSites:
        """Return the sums (B, sites) of (B, ...) values over each component, or each pixel or point with `pixels`."""
        return (values.sum(self.channel_axis) if self.grouped else values).flatten(1)

    def spread(self, sites: Sites, like: FloatBatch) -> Tensor:
        """Return the (B, sites) values in a shape that broadcasts over `like` (B, ...): 1 along the channel axis."""
        shape = list(like.shape)
        if self.pixels and self.channel_axis is not None:
            shape[self.channel_axis] = 1
        return sites.view(shape)

    def norm(self, delta: FloatBatch) -> FloatPerRow:
        """Return the number (B,) of sites at which the perturbations (B, ...) are not zero."""
        return (self.sum_per_site((delta != 0).to(delta.dtype)) > 0).sum(1).to(delta.dtype)

    def dual_norm(self, grad: FloatBatch) -> FloatPerRow:
        """Return the largest |gradient| (B,), as in L1: a count has no dual norm."""
        return grad.flatten(1).abs().amax(1)

    def steepest(
        self,
        grad: FloatBatch,
        at: FloatBatch | None = None,
        movable: BoolBatch | None = None,
        dimension: FloatPerRow | None = None,
    ) -> FloatBatch:
        """Return the gradient over its L1 norm (Croce & Hein 2019, PGD0); the projection chooses the pixels."""
        size = following(grad, at, movable)
        total = size.flatten(1).sum(1).clamp_min_(tiny(grad))
        return grad.sign() * size / rowwise(total, grad)

    def hyperplane_distance(self, slope: FloatBatch, gain: FloatPerRow, lower: Bound, upper: Bound) -> FloatPerRow:
        """Return how many sites (B,) reach the gain if each goes to the end of its range."""
        rise = torch.where(slope == 0, 0, slope.abs() * outward(slope, lower, upper))
        closed = self.sum_per_site(rise).sort(dim=1, descending=True).values.cumsum(1)
        return 1 + (closed < gain[:, None]).sum(1).to(gain.dtype)

    def project_between(
        self, delta: FloatBatch, lower: Bound, upper: Bound, radius: FloatPerRow | None = None
    ) -> FloatBatch:
        """Project exactly: clip delta, and keep the sites without which it would move farthest."""
        inside = delta.clamp(lower, upper)  # type: ignore[arg-type]
        gain = self.sum_per_site(delta.square() - (delta - inside).square())
        limit = radii(self.eps, radius, delta).clamp(max=gain.shape[1]).long()
        rank = gain.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        return inside * self.spread(rank < limit[:, None], delta)

    def draw(
        self,
        key: Key,
        x: FloatBatch,
        radius: Radius,
        free: BoolBatch | None,
        fresh: Callable[[], FloatBatch],
        stream: str,
    ) -> FloatBatch:
        """Draw as many of the free sites as the radius says, and a new random valid value for each."""
        value, shape = fresh(), list(x.shape)
        if self.pixels and self.channel_axis is not None:
            del shape[self.channel_axis]
        score = key.uniform(f"{stream} site", shape[1:], dtype=x.dtype).flatten(1)
        if free is not None:
            score = score.masked_fill(self.sum_per_site(free.to(x.dtype)) == 0, 2)
        limit = radii(self.eps, radius, x).clamp(max=score.shape[1]).long()
        kept = self.spread(score.argsort(dim=1).argsort(dim=1) < limit[:, None], x)
        return (value - x) * (kept if free is None else kept & free)

    def sample(self, key: Key, x: FloatBatch, stream: str = "ball") -> FloatBatch:
        """Draw `eps` sites of x (B, ...) and a value in [0, 1] for each; return the perturbation."""
        return self.draw(key, x, self.eps, None, lambda: key.uniform(stream, x.shape[1:], dtype=x.dtype), stream)

    def prox(self, delta: FloatBatch, weight: FloatPerRow) -> FloatBatch:
        """Return the values of delta that are kept: those of sites whose squared norm is at least 2 * `weight` (B,)."""
        kept = self.sum_per_site(delta.square()) >= 2 * weight[:, None]
        return delta * self.spread(kept, delta)


def following(grad: FloatBatch, at: FloatBatch | None, movable: BoolBatch | None) -> FloatBatch:
    """Return |grad|, and 0 where a component cannot move: at an edge of [0, 1] in `at` (B, ...), or not `movable`."""
    size = grad.abs()
    if at is not None:
        size = size * torch.where(grad > 0, at < 1, at > 0)
    return size if movable is None else size * movable
