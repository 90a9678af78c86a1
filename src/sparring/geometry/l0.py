"""The count of what moved at all: components, or whole pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ThreatError
from ..random import Key
from .ball import Ball, radii, tiny


@dataclass(frozen=True)
class L0(Ball):
    """At most eps components moved; with `pixels`, at most eps pixels in any of their channels."""

    pixels: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if math.isfinite(self.eps) and self.eps != int(self.eps):
            raise ThreatError(f"L0 epsilon {self.eps!r} is not a count; pass a whole number of components")

    def _sites(self, values: Tensor) -> Tensor:
        """(B, sites) sums over what counts as one."""
        return (values.sum(1) if self.pixels else values).flatten(1)

    def norm(self, delta: Tensor) -> Tensor:
        return (self._sites((delta != 0).to(delta.dtype)) > 0).sum(1).to(delta.dtype)

    def steepest(self, grad: Tensor, at: Tensor | None = None) -> Tensor:
        """The gradient over its L1 norm (Croce & Hein 2019, PGD0); the projection picks the pixels."""
        size = grad.abs()
        if at is not None:
            size = size * torch.where(grad > 0, at < 1, at > 0)
        total = size.flatten(1).sum(1).clamp_min_(tiny(grad))
        return grad.sign() * size / total.view(-1, *[1] * (grad.ndim - 1))

    def project_between(
        self, delta: Tensor, lower: Tensor, upper: Tensor, radius: Tensor | None = None
    ) -> Tensor:
        """Exact: keep, clipped, the sites whose loss would move the point farthest."""
        inside = delta.clamp(lower, upper)
        gain = self._sites(delta.square() - (delta - inside).square())
        limit = radii(self.eps, radius, delta).clamp(max=gain.shape[1]).long()
        rank = gain.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        kept = rank < limit[:, None]
        kept = kept.view(len(delta), 1, *delta.shape[2:]) if self.pixels else kept.view_as(delta)
        return inside * kept

    def sample(self, key: Key, x: Tensor, lane: str = "ball") -> Tensor:
        """eps sites chosen at random, each with a new value uniform in the valid range."""
        value = key.uniform(lane, x.shape[1:], dtype=x.dtype)
        score = key.uniform(f"{lane} site", x.shape[2:] if self.pixels else x.shape[1:], dtype=x.dtype)
        limit = int(min(self.eps, score[0].numel()))
        kept = score.flatten(1).argsort(dim=1).argsort(dim=1) < limit
        kept = kept.view(len(x), 1, *x.shape[2:]) if self.pixels else kept.view_as(x)
        return (value - x) * kept
