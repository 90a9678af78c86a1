"""The base class `Ball` of the norm balls: norm, steepest direction, projection, sampling.

Inputs are (B, ...) tensors, images among them; a perturbation `delta` has their shape. `eps` is the radius in the units
of the norm over those components; `math.inf` (the default) is no radius, for minimum-norm attacks.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..errors import ThreatError
from ..random import Key

Bound = Tensor | float  # of each component: one number for all of them, or a tensor like the inputs
Radius = Tensor | float  # one number for all rows, or (B,)


def rowwise(values: Tensor, like: Tensor) -> Tensor:
    """Reshape (B,) values to broadcast over a (B, ...) tensor."""
    return values.view(-1, *[1] * (like.ndim - 1))


def tiny(x: Tensor) -> float:
    """Return the smallest normal number of x's dtype, to avoid divisions by zero."""
    return torch.finfo(x.dtype).tiny


def taken(bound: Bound, rows: Tensor | slice) -> Bound:
    """Return the bound of these rows (Q,); a bound that is one number is the same for every row."""
    return bound[rows] if isinstance(bound, Tensor) else bound


def outward(delta: Tensor, lower: Bound, upper: Bound) -> Tensor:
    """Return how far (B, ...) each component is from its bound in the direction of its sign (downwards for 0)."""
    if not isinstance(lower, Tensor) and not isinstance(upper, Tensor):
        lower = torch.as_tensor(lower, dtype=delta.dtype, device=delta.device)
    return torch.where(delta > 0, upper, -lower)


@dataclass(frozen=True)
class Ball(ABC):
    """A norm ball of radius `eps` around an input, cut by its valid range, [0, 1] for images."""

    eps: float = math.inf

    p: ClassVar[float] = math.nan  # of the p-norm; NaN: it is none
    sparse: ClassVar[bool] = False  # does `steepest` move few components? It then skips those at their bound

    def __post_init__(self) -> None:
        if not isinstance(self.eps, (int, float)) or math.isnan(self.eps) or self.eps < 0:
            raise ThreatError(f"{type(self).__name__} epsilon {self.eps!r} is not a radius; pass a number >= 0")

    def check(self, x: Tensor, low: float = 0.0, high: float = 1.0) -> None:
        """Raise ThreatError where the radius exceeds the diameter of [low, high]^n for one input of `x`."""
        diameter = float(self.norm(torch.full_like(x[:1], high - low))[0])
        if math.isfinite(self.eps) and self.eps > diameter * (1 + 1e-6):
            scaled = f"; for {self.eps:g} of 255 levels pass {self.eps:g}/255" if self.eps <= 255 else ""
            kind = "pixels lie in [0, 1]" if (low, high) == (0, 1) else f"values lie in [{low:g}, {high:g}]"
            raise ThreatError(
                f"{type(self).__name__} epsilon {self.eps:g} is larger than the whole range of these images "
                f"({diameter:g}): {kind}{scaled if (low, high) == (0, 1) else ''}"
            )

    def bounded(self, attack: str) -> None:
        """Raise ThreatError where the radius is infinite and `attack` needs a finite one."""
        if math.isinf(self.eps):
            raise ThreatError(
                f"{attack} needs a radius: pass {type(self).__name__}(eps), or use a minimum-norm attack (DeepFool, "
                "CarliniWagner, HopSkipJump)"
            )

    def with_channel_axis(self, axis: int | None) -> Ball:
        """Return the ball for inputs whose sites (pixels, points) have their components along this axis.

        None: every component is a site of its own. Only L0 counts sites; every other ball is returned as it is.
        """
        return self

    @property
    def grouped(self) -> bool:
        """Does L0 count sites of several components, such as pixels? False in all other norms."""
        return False

    def sum_per_site(self, values: Tensor) -> Tensor:
        """Return (B, sites) sums of (B, ...) values over the components of each site; usually a component is a site."""
        return values.flatten(1)

    def spread(self, sites: Tensor, like: Tensor) -> Tensor:
        """Reshape (B, sites) values, as of `sum_per_site`, to broadcast over the (B, ...) tensor `like`."""
        return sites.view_as(like)

    # measures

    @abstractmethod
    def norm(self, delta: Tensor) -> Tensor:
        """Return the norms (B,) of perturbations (B, ...)."""

    @abstractmethod
    def dual_norm(self, grad: Tensor) -> Tensor:
        """Return the dual norms (B,) of gradients (B, ...): the gain of the best step of norm 1."""

    @abstractmethod
    def steepest(
        self, grad: Tensor, at: Tensor | None = None, movable: Tensor | None = None, dimension: Tensor | None = None
    ) -> Tensor:
        """Return the perturbation of norm 1 that increases a linear function with this gradient most.

        A new tensor; zero where the gradient is zero. In L1 and L0, components that cannot move along the gradient are
        skipped: those at an edge of [0, 1] in the images `at`, or those where `movable`
        (B, ...) is false. `dimension` (B,) is the number of components that may move at all, where it is not all.
        """

    def euclidean_length(self, distance: Tensor, dimension: Tensor) -> Tensor:
        """Return the L2 norm (B,) of a steepest step of norm `distance` (B,), in `dimension` (B,) components."""
        return distance

    def hyperplane_distance(self, slope: Tensor, gain: Tensor, lower: Bound, upper: Bound) -> Tensor:
        """Return the smallest norm (B,) of a delta with <slope, delta> = `gain` (B,) >= 0, ignoring the valid range."""
        return gain / self.dual_norm(slope).clamp_min(tiny(slope))

    # projections

    def project(self, delta: Tensor, x: Tensor, radius: Tensor | None = None) -> Tensor:
        """Project `delta` (in L2) onto the perturbations inside the ball for which x + delta lies in [0, 1].

        `radius` (B,) replaces eps row by row.
        """
        return self.project_between(delta, -x, 1 - x, radius)

    @abstractmethod
    def project_between(self, delta: Tensor, lower: Bound, upper: Bound, radius: Tensor | None = None) -> Tensor:
        """Project as `project` does, for any box lower <= 0 <= upper of perturbations; bounds may be infinite.

        Components whose bounds are both 0 do not move; the others are projected as if those did not exist.
        """

    def joint_box(self, x: Tensor, low: Bound, high: Bound, radius: Radius) -> tuple[Tensor, Tensor] | None:
        """Return the lowest and highest inputs within ball and range where these form a box (Linf); else None."""
        return None

    def nearest_within_(
        self,
        images: Tensor,
        x: Tensor,
        low: Bound,
        high: Bound,
        bounds: Callable[[], tuple[Bound, Bound]],
        limit: Tensor,
        memory: Tensor,
    ) -> Tensor:
        """Return the inputs nearest to `images` in [low, high] and within `limit` (B,) of `x`; overwrites `images`.

        `bounds()` gives low - x and high - x; `memory` is like `x`, and may be written over.
        """
        return self.project_between(images.sub_(x), *bounds(), limit).add_(x)

    def step_(self, grad: Tensor, images: Tensor, rate: Radius) -> Tensor:
        """Move `images` by `rate` along the steepest direction, without projection; overwrites `grad`."""
        rate = rowwise(rate, images) if isinstance(rate, Tensor) else rate
        return self.steepest(grad).mul_(rate).add_(images)

    def shrink(self, delta: Tensor, share: Tensor) -> Tensor:
        """Return the perturbation nearest to `delta` with `share` (B,) in [0, 1] times its norm."""
        return self.project_between(delta, -math.inf, math.inf, share * self.norm(delta))

    def onto_hyperplane(self, slope: Tensor, gain: Tensor, lower: Bound, upper: Bound) -> Tensor:
        """Return the smallest perturbation within the bounds that raises <slope, .> by `gain` (B,).

        Where the bounds do not reach that far: the one that comes closest. Exact, and zero where the slope is zero.
        Croce & Hein 2020 (arXiv:1907.02044), section 2.2.
        """
        raise ThreatError(f"a projection onto hyperplanes is known in Linf, L2 and L1, not in {self}")

    def prox(self, delta: Tensor, weight: Tensor) -> Tensor:
        """Return argmin_z weight |z| + |z - delta|_2^2 / 2, row by row; `weight` (B,) >= 0 (Parikh & Boyd 2014)."""
        raise ThreatError(f"a proximal step is known in Linf, L2, L1 and L0, not in {self}")

    def squash(self, values: Tensor) -> Tensor:
        """Map values (B, ...) smoothly into the ball: eps tanh(v) in Linf, eps v / sqrt(1 + |v|^2) in L2."""
        raise ThreatError(f"a smooth map into the ball is known in Linf and L2, not in {self}")

    # draws

    @abstractmethod
    def draw(
        self, key: Key, x: Tensor, radius: Radius, free: Tensor | None, fresh: Callable[[], Tensor], stream: str
    ) -> Tensor:
        """Draw uniformly from the ball of this radius in the `free` components, ignoring the valid range.

        `fresh()` is a random valid input, from which L0 takes the new values of its sites.
        """

    def direction(self, key: Key, x: Tensor, free: Tensor | None, stream: str) -> Tensor:
        """Draw a random perturbation of norm 1: normal components, scaled."""
        noise = key.normal(stream, x.shape[1:], dtype=x.dtype)
        noise = noise if free is None else noise.where(free, 0)
        return noise.div_(rowwise(self.norm(noise).clamp_min(tiny(x)), x))

    @abstractmethod
    def sample(self, key: Key, x: Tensor, stream: str = "ball") -> Tensor:
        """Draw a perturbation uniformly from the ball, then project it onto the valid range."""

    def __str__(self) -> str:
        return type(self).__name__ if math.isinf(self.eps) else f"{type(self).__name__}({self.eps:g})"


def radii(eps: float, radius: Radius | None, like: Tensor) -> Tensor:
    """Return the radii (B,): the row-wise ones where given, else one number for every row."""
    if isinstance(radius, Tensor):
        return radius.to(like.dtype)
    return torch.full((len(like),), eps if radius is None else radius, dtype=like.dtype, device=like.device)
