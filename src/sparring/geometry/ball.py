"""What every ball can do: measure, point uphill, project, sample.

Images are (B, C, H, W) in [0, 1]; a perturbation has their shape. `eps` is the radius in the units of the
norm over those pixels; `math.inf` (the default) makes a ball a mere norm, for minimum-norm attacks.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ThreatError
from ..random import Key


@dataclass(frozen=True)
class Region:
    """The valid part of a ball around each image, made ready for many projections."""

    x: Tensor
    lower: Tensor | None = None  # Linf: the region is a box
    upper: Tensor | None = None


def rowwise(values: Tensor, like: Tensor) -> Tensor:
    """(B,) values shaped to broadcast over a (B, ...) tensor."""
    return values.view(-1, *[1] * (like.ndim - 1))


def tiny(x: Tensor) -> float:
    """The smallest normal number of x's dtype: a divisor that is never zero."""
    return torch.finfo(x.dtype).tiny


@dataclass(frozen=True)
class Ball(ABC):
    """A norm ball of radius `eps` around an image, cut by the valid range [0, 1]."""

    eps: float = math.inf

    def __post_init__(self) -> None:
        if not isinstance(self.eps, (int, float)) or math.isnan(self.eps) or self.eps < 0:
            raise ThreatError(f"{type(self).__name__} epsilon {self.eps!r} is not a radius; pass a number >= 0")

    def check(self, x: Tensor) -> None:
        """Raise ThreatError where the radius exceeds the diameter of [0, 1]^n for one image of `x`."""
        diameter = float(self.norm(torch.ones_like(x[:1]))[0])
        if math.isfinite(self.eps) and self.eps > diameter * (1 + 1e-6):
            scaled = f"; for {self.eps:g} of 255 levels pass {self.eps:g}/255" if self.eps <= 255 else ""
            raise ThreatError(
                f"{type(self).__name__} epsilon {self.eps:g} is larger than the whole range of these images "
                f"({diameter:g}): pixels lie in [0, 1]{scaled}"
            )

    def bounded(self, attack: str) -> None:
        """Raise ThreatError where the radius is infinite: `attack` spends a given one."""
        if math.isinf(self.eps):
            raise ThreatError(
                f"{attack} needs a radius: pass {type(self).__name__}(eps), or use a minimum-norm attack (DeepFool, "
                "CarliniWagner, HopSkipJump)"
            )

    @abstractmethod
    def norm(self, delta: Tensor) -> Tensor:
        """(B,) norms of (B, ...) perturbations."""

    @abstractmethod
    def steepest(self, grad: Tensor, at: Tensor | None = None) -> Tensor:
        """The perturbation of norm 1 along which a linear function with this gradient grows fastest.

        A tensor of its own; zero where the gradient is zero. With `at`, the present images, pixels at the edge of
        the valid range are passed over where that matters (L1, L0).
        """

    def project(self, delta: Tensor, x: Tensor, radius: Tensor | None = None) -> Tensor:
        """The nearest (in L2) perturbation inside the ball for which x + delta lies in [0, 1].

        `radius` (B,) replaces eps row by row.
        """
        return self.project_between(delta, -x, 1 - x, radius)

    def region(self, x: Tensor) -> Region:
        """What `nearest_` needs to know of the images `x`."""
        return Region(x)

    def nearest_(self, images: Tensor, region: Region) -> Tensor:
        """The nearest images inside the region, in the memory of `images`."""
        return images.sub_(region.x).copy_(self.project(images, region.x)).add_(region.x)

    def ascend_(self, grad: Tensor, images: Tensor, rate: float, region: Region) -> Tensor:
        """`images` moved by `rate` along the steepest direction, projected; `grad` is used up."""
        return self.nearest_(self.steepest(grad, at=images).mul_(rate).add_(images), region)

    @abstractmethod
    def project_between(
        self, delta: Tensor, lower: Tensor, upper: Tensor, radius: Tensor | None = None
    ) -> Tensor:
        """As `project`, for any box lower <= 0 <= upper: a mask is a box of width 0 outside the mask."""

    @abstractmethod
    def sample(self, key: Key, x: Tensor, lane: str = "ball") -> Tensor:
        """A perturbation drawn uniformly from the ball, then projected onto the valid range."""

    def __str__(self) -> str:
        return type(self).__name__ if math.isinf(self.eps) else f"{type(self).__name__}({self.eps:g})"


def radii(eps: float, radius: Tensor | None, like: Tensor) -> Tensor:
    """(B,) radii: the row-wise ones where given, else eps for every row."""
    if radius is not None:
        return radius.to(like.dtype)
    return torch.full((len(like),), eps, dtype=like.dtype, device=like.device)
