"""The base class of norm balls: norms, steepest directions, projections and random draws.

Inputs are (B, ...) tensors, images among them; a perturbation `delta` has their shape. `eps` is the radius in the units
of the norm over those components; `math.inf` (the default) is no radius, for minimum-norm attacks.
"""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..errors import ThreatError
from ..random import Key
from ..scalars import plain_number
from ..shapes import BoolBatch, FloatBatch, FloatPerRow, FloatRows, FloatSites, PerRow, RowSelection, Sites

Bound = FloatBatch | float  # of each component: one number for all of them, or a tensor like the inputs
Radius = FloatPerRow | float  # one number for all rows, or one for each


def rowwise(values: PerRow, like: Tensor) -> Tensor:
    """Return the (B,) values in the shape (B, 1, ..., 1), which broadcasts over the (B, ...) tensor `like`."""
    return values.view(-1, *[1] * (like.ndim - 1))


def tiny(x: FloatBatch) -> float:
    """Return the smallest normal number of the dtype of x, which serves as a lower limit of divisors."""
    return torch.finfo(x.dtype).tiny


def taken(bound: Bound, rows: RowSelection) -> FloatRows | float:
    """Return the bound of these rows; a number stays as it is, since it belongs to every row."""
    return bound[rows] if isinstance(bound, Tensor) else bound


def outward(delta: FloatBatch, lower: Bound, upper: Bound) -> FloatBatch:
    """Return how far (B, ...) each component is from its bound in the direction of its sign (downwards for 0)."""
    if not isinstance(lower, Tensor) and not isinstance(upper, Tensor):
        lower = torch.as_tensor(lower, dtype=delta.dtype, device=delta.device)
    return torch.where(delta > 0, upper, -lower)


@dataclass(frozen=True)
class Ball(ABC):
    """A norm ball of radius `eps` around an input, intersected with the valid range, which is [0, 1] for images.

    Raises:
        ThreatError: `eps` is no number at or above 0.
    """

    eps: float = math.inf

    p: ClassVar[float] = math.nan  # of the p-norm; NaN: it is none
    sparse: ClassVar[bool] = False  # does `steepest` move few components? It then skips those at their bound

    def __post_init__(self) -> None:
        object.__setattr__(self, "eps", plain_number(self.eps))
        number = isinstance(self.eps, (int, float)) and not isinstance(self.eps, bool)
        if not number or not self.eps >= 0 or (self.eps > sys.float_info.max and self.eps != math.inf):
            raise ThreatError(
                f"{type(self).__name__} epsilon {self.eps!r:.40} is not a radius; pass a number >= 0, as 8 / 255"
            )

    def check(self, x: FloatBatch, low: float = 0.0, high: float = 1.0, eps: float | None = None) -> None:
        """Raise ThreatError where the radius, or `eps` in its place, exceeds the diameter of [low, high]^n.

        The diameter is that for one input of `x` (B, ...).
        """
        eps = self.eps if eps is None else eps
        diameter = float(self.norm(torch.full_like(x[:1], high - low))[0])
        if math.isfinite(eps) and eps > diameter * (1 + 1e-6):
            kind = "pixels lie in [0, 1]" if (low, high) == (0, 1) else f"values lie in [{low:g}, {high:g}]"
            cure = f"and no two of them lie further apart than {diameter:g} in {type(self).__name__}; pass less"
            if self.p == math.inf and (low, high) == (0, 1) and eps <= 255:
                cure = f"for {eps:g} of 255 levels pass {eps:g}/255"
            raise ThreatError(
                f"{type(self).__name__} epsilon {eps:g} is larger than the whole range of these images "
                f"({diameter:g}): {kind}; {cure}"
            )

    def bounded(self, attack: str) -> None:
        """Raise ThreatError where the radius is infinite; the message names `attack`, which needs a finite one."""
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
        """Whether a site has several components, as a pixel has; true in L0 over pixels or points only."""
        return False

    def sum_per_site(self, values: FloatBatch) -> FloatSites:
        """Return the sums (B, sites) of (B, ...) values over each site: a component, or in L0 a pixel or a point."""
        return values.flatten(1)

    def spread(self, sites: Sites, like: FloatBatch) -> Tensor:
        """Return (B, sites) values in a shape that broadcasts over `like` (B, ...); the inverse of `sum_per_site`."""
        return sites.view_as(like)

    # measures

    @abstractmethod
    def norm(self, delta: FloatBatch) -> FloatPerRow:
        """Return the norms (B,) of the perturbations (B, ...)."""

    @abstractmethod
    def dual_norm(self, grad: FloatBatch) -> FloatPerRow:
        """Return the dual norms (B,) of the gradients (B, ...): the gain of a linear function by a step of norm 1."""

    @abstractmethod
    def steepest(
        self,
        grad: FloatBatch,
        at: FloatBatch | None = None,
        movable: BoolBatch | None = None,
        dimension: FloatPerRow | None = None,
    ) -> FloatBatch:
        """Return the perturbation (B, ...) of norm 1 along which a linear function with this gradient grows fastest.

        The result is a new tensor, and zero where the gradient is zero. Components that cannot follow the gradient are
        passed over where that matters (L1, L0): those at an edge of [0, 1] in the images `at`, or those where `movable`
        (B, ...) is false. `dimension` (B,) is the number of components that may move at all, where it is not all.
        """

    def euclidean_length(self, distance: FloatPerRow, dimension: FloatPerRow) -> FloatPerRow:
        """Return the L2 length (B,) of a steepest step of norm `distance` (B,) in `dimension` (B,) components."""
        return distance

    def hyperplane_distance(self, slope: FloatBatch, gain: FloatPerRow, lower: Bound, upper: Bound) -> FloatPerRow:
        """Return the least norm (B,) of a delta with <slope, delta> = `gain` (B,) >= 0, without the valid range."""
        return gain / self.dual_norm(slope).clamp_min(tiny(slope))

    # projections

    def project(self, delta: FloatBatch, x: FloatBatch, radius: FloatPerRow | None = None) -> FloatBatch:
        """Project `delta` (B, ...) onto the perturbations of the ball for which x + delta lies in [0, 1].

        Nearest is meant in L2. `radius` (B,) replaces eps row by row.
        """
        return self.project_between(delta, -x, 1 - x, radius)

    @abstractmethod
    def project_between(
        self, delta: FloatBatch, lower: Bound, upper: Bound, radius: FloatPerRow | None = None
    ) -> FloatBatch:
        """Project `delta` onto the ball and the box lower <= 0 <= upper; either bound may be infinite.

        Components whose bounds are both 0 do not move; the others are projected as if those did not exist.
        """

    def joint_box(self, x: FloatBatch, low: Bound, high: Bound, radius: Radius) -> tuple[FloatBatch, FloatBatch] | None:
        """Return the lowest and highest inputs within ball and range where these form a box (Linf); else None."""
        return None

    def nearest_within_(
        self,
        images: FloatBatch,
        x: FloatBatch,
        low: Bound,
        high: Bound,
        bounds: Callable[[], tuple[Bound, Bound]],
        limit: FloatPerRow,
        memory: tuple[FloatBatch, FloatBatch],
    ) -> FloatBatch:
        """Return the inputs nearest to `images` that lie in [low, high] and within `limit` (B,) of `x`.

        `images` is overwritten. `bounds()` gives low - x and high - x; `memory` is two buffers like `x`, which may be
        overwritten too.
        """
        return self.project_between(images.sub_(x), *bounds(), limit).add_(x)

    def step_(self, grad: FloatBatch, images: FloatBatch, rate: Radius) -> FloatBatch:
        """Return `images` moved by `rate` along the steepest direction, not projected; `grad` is overwritten."""
        rate = rowwise(rate, images) if isinstance(rate, Tensor) else rate
        return self.steepest(grad).mul_(rate).add_(images)

    def shrink(self, delta: FloatBatch, share: FloatPerRow) -> FloatBatch:
        """Return the nearest perturbation to `delta` that has `share` (B,) in [0, 1] of its norm."""
        return self.project_between(delta, -math.inf, math.inf, share * self.norm(delta))

    def onto_hyperplane(self, slope: FloatBatch, gain: FloatPerRow, lower: Bound, upper: Bound) -> FloatBatch:
        """Return the smallest perturbation within the bounds by which <slope, .> rises by `gain` (B,).

        Where the bounds do not reach that far, it is the one that comes closest. Exact, and zero where the slope is
        zero (Croce & Hein 2020, arXiv:1907.02044, section 2.2). Raises ThreatError except in Linf, L2 and L1.
        """
        raise ThreatError(f"a projection onto hyperplanes is known in Linf, L2 and L1, not in {self}")

    def prox(self, delta: FloatBatch, weight: FloatPerRow) -> FloatBatch:
        """Return argmin_z weight |z| + |z - delta|_2^2 / 2 row by row, for `weight` (B,) >= 0 (Parikh & Boyd 2014).

        Raises ThreatError for a union.
        """
        raise ThreatError(f"a proximal step is known in Linf, L2, L1 and L0, not in {self}")

    def squash(self, values: FloatBatch) -> FloatBatch:
        """Map any values v (B, ...) smoothly into the ball: eps tanh(v) in Linf, eps v / sqrt(1 + |v|^2) in L2.

        Raises ThreatError in other balls.
        """
        raise ThreatError(f"a smooth map into the ball is known in Linf and L2, not in {self}")

    # draws

    @abstractmethod
    def draw(
        self,
        key: Key,
        x: FloatBatch,
        radius: Radius,
        free: BoolBatch | None,
        fresh: Callable[[], FloatBatch],
        stream: str,
    ) -> FloatBatch:
        """Draw a perturbation of x uniformly from the ball of this radius in the `free` components.

        The valid range is left out of account. `fresh()` returns a random valid input, from which L0 takes the new
        values of its sites.
        """

    def direction(self, key: Key, x: FloatBatch, free: BoolBatch | None, stream: str) -> FloatBatch:
        """Draw a perturbation (B, ...) of norm 1 in the `free` components: normal ones, scaled."""
        noise = key.normal(stream, x.shape[1:], dtype=x.dtype)
        noise = noise if free is None else noise.where(free, 0)
        return noise.div_(rowwise(self.norm(noise).clamp_min(tiny(x)), x))

    @abstractmethod
    def sample(self, key: Key, x: FloatBatch, stream: str = "ball") -> FloatBatch:
        """Draw a perturbation (B, ...) uniformly from the ball, then project it onto the valid range [0, 1]."""

    def __str__(self) -> str:
        return type(self).__name__ if math.isinf(self.eps) else f"{type(self).__name__}({self.eps:g})"


def radii(eps: float, radius: Radius | None, like: FloatBatch) -> FloatPerRow:
    """Return the radii (B,): `radius` in the dtype of `like`, or where it is None `eps` for every row."""
    if isinstance(radius, Tensor):
        return radius.to(like.dtype)
    return torch.full((len(like),), eps if radius is None else radius, dtype=like.dtype, device=like.device)
