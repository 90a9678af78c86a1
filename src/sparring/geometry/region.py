"""`Region`: where each row of a batch may go, which is a ball around its input cut by the valid range and by a mask.

    { x' :  |x' - x| <= eps,   low <= x' <= high,   x'_i = x_i where i is not free }

Attacks take all their bounds from a region: they hold no range, mask or radius, and do not depend on the number of
axes. A mask does more than clamping would: components that may not move are also left out of directions, dual norms,
dimensions and draws, so that an attack under a mask equals the attack on the free components alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from ..errors import InputError, ThreatError
from ..inputs import Images, Inputs
from ..random import Key
from ..shapes import BoolBatch, BoolPerRow, FloatBatch, FloatPerRow, FloatPerWay, FloatStack, RowSelection
from .ball import Ball, Bound, Radius, outward, radii, rowwise, taken

TOLERANCE = 1e-6  # rounding that an input may exceed the ball and the valid range by


@dataclass(frozen=True)
class Region:
    """The feasible set of each row; `Region.around(x, ball, inputs, mask=, eps=)` makes one.

    Args:
        x: (B, ...) the inputs themselves.
        low, high: the valid range of each component: two numbers, or two tensors like `x`; either may be infinite.
        eps: (B,) the radius of each row, in the units of the ball's norm (of a union: a share of its radii); infinite:
            no limit.
        ball: the norm. Its own eps is what `around` gives every row that has no other.
        free: (B, ...) bool, the components that may move; None: all.
        inputs: what kind of inputs these are: for attacks that need sites, windows or random starts.

    All tensors have one row per input. What is derived from them is made when it is first needed, and then kept.
    """

    x: FloatBatch
    low: Bound
    high: Bound
    eps: FloatPerRow
    ball: Ball
    free: BoolBatch | None = None
    inputs: Inputs = field(default_factory=Images)

    @classmethod
    def around(
        cls,
        x: FloatBatch,
        ball: Ball,
        inputs: Inputs | None = None,
        *,
        mask: Tensor | None = None,
        eps: Tensor | None = None,
    ) -> Region:
        """Return the region of `ball` around `x` (B, ...), for one kind of inputs (images in [0, 1] by default).

        Args:
            mask: bool, broadcast over `x`: true where a component may move. None: everywhere.
            eps: (B,) radii that replace the ball's own, in its units.

        Raises:
            InputError: a mask that does not fit, or leaves a row nothing to move.
            ThreatError: radii that are not (B,), negative or NaN.
        """
        inputs = Images() if inputs is None else inputs
        low, high = (b.expand_as(x) if isinstance(b, Tensor) else b for b in inputs.range_like(x))
        free = None if mask is None else _mask_like(mask, x)
        limit = radii(ball.eps, None, x) if eps is None else _checked_radii(eps, x)
        return cls(x, low, high, limit, ball.with_channel_axis(inputs.channel_axis), free, inputs)

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: RowSelection) -> Region:
        """Return the region of these rows: indices (Q,), with repetition if wanted, a mask (B,), or a slice."""
        low, high = taken(self.low, rows), taken(self.high, rows)
        free = None if self.free is None else self.free[rows]
        part = replace(self, x=self.x[rows], low=low, high=high, eps=self.eps[rows], free=free)
        if isinstance(vars(self).get("radius"), float):
            vars(part)["radius"] = self.radius  # what all rows have in common need not be looked for again
        return part

    def to(self, device: torch.device) -> Region:
        """Return the region with its tensors on `device`."""
        low, high = (b.to(device) if isinstance(b, Tensor) else b for b in (self.low, self.high))
        free = None if self.free is None else self.free.to(device)
        return replace(self, x=self.x.to(device), low=low, high=high, eps=self.eps.to(device), free=free)

    def scaled(self, factor: float) -> Region:
        """Return the region with `factor` times the radii; made once for each factor."""
        if factor == 1:
            return self
        known: dict[float, Region] = vars(self).setdefault("_scaled", {})
        if factor not in known:
            known[factor] = replace(self, eps=factor * self.eps)
        return known[factor]

    # what is derived

    @cached_property
    def radius(self) -> Radius:
        """The radii (B,), or one number where every row has the same: that costs less in each step."""
        if len(self.eps) == 0:
            return self.eps
        least, most = self.eps.aminmax()
        if float(least) != float(most):
            return self.eps
        given = torch.as_tensor(self.ball.eps, dtype=self.eps.dtype)
        return float(self.ball.eps if float(given) == float(least) else least)

    @cached_property
    def range(self) -> tuple[Bound, Bound]:
        """The lowest and highest valid inputs, both x where a component may not move: two numbers or two tensors."""
        if self.free is None and not isinstance(self.low, Tensor) and not isinstance(self.high, Tensor):
            return self.low, self.high
        low, high = (torch.as_tensor(b, dtype=self.x.dtype, device=self.x.device) for b in (self.low, self.high))
        if self.free is None:
            return low.expand_as(self.x), high.expand_as(self.x)
        return torch.where(self.free, low, self.x), torch.where(self.free, high, self.x)

    @cached_property
    def bounds(self) -> tuple[Bound, Bound]:
        """The range of perturbations, `range` less x."""
        low, high = self.range
        if isinstance(low, float) and isinstance(high, float) and math.isinf(low) and math.isinf(high):
            return low, high
        return low - self.x, high - self.x

    @cached_property
    def box(self) -> tuple[FloatBatch, FloatBatch] | None:
        """The lowest and highest inputs of the region, ball and mask included, where it is a box (Linf); else None."""
        return self.ball.joint_box(self.x, *self.range, self.radius)

    @cached_property
    def _memory(self) -> tuple[Tensor, Tensor]:
        """Two buffers like x that projections overwrite, so that no step has to allocate any."""
        return torch.empty_like(self.x), torch.empty_like(self.x)

    @cached_property
    def dimension(self) -> FloatPerRow:
        """The number (B,) of components that may move."""
        if self.free is None:
            return torch.full_like(self.eps, self.x[:1].numel())
        return self.free.flatten(1).sum(1).to(self.eps.dtype)

    @cached_property
    def diameter(self) -> FloatPerRow:
        """The norm (B,) of the difference of the two farthest valid inputs; infinite where the range is."""
        low, high = self.range
        return self.ball.norm(torch.zeros_like(self.x) + (high - low))

    @property
    def extent(self) -> FloatPerRow:
        """The L2 norm (B,) of a perturbation that moves every free component by the scale of the inputs."""
        return self.dimension.sqrt() * self.inputs.scale

    # measures

    def norm(self, delta: FloatBatch) -> FloatPerRow:
        """Return the norms (B,) of the perturbations (B, ...)."""
        return self.ball.norm(delta)

    def masked(self, values: FloatBatch) -> FloatBatch:
        """Return the values (B, ...), with 0 where a component may not move."""
        return values if self.free is None else torch.where(self.free, values, 0)

    def masked_many(self, values: FloatStack) -> FloatStack:
        """Return several values per row (B, n, ...), with 0 where a component may not move."""
        return values if self.free is None else torch.where(self.free[:, None], values, 0)

    def dual_norm(self, grad: FloatBatch) -> FloatPerRow:
        """Return the dual norms (B,) of the gradients (B, ...) in the free components."""
        return self.ball.dual_norm(self.masked(grad))

    def dual_norm_many(self, grads: FloatStack) -> FloatPerWay:
        """Return the dual norms (B, n) of several gradients per row (B, n, ...): of each rival class, say."""
        return self.ball.dual_norm(self.masked_many(grads).flatten(0, 1)).view(grads.shape[:2])

    def steepest(self, grad: FloatBatch, at: FloatBatch | None = None) -> FloatBatch:
        """Return the step (B, ...) of norm 1 along which a linear function of this gradient grows fastest.

        It is 0 where the gradient is 0. In norms that move few components, those at an edge of the range in the inputs
        `at` are passed over.
        """
        grad = self.masked(grad)
        movable = self.room(grad, at) > 0 if at is not None and self.ball.sparse else None
        return self.ball.steepest(grad, movable=movable, dimension=None if self.free is None else self.dimension)

    def euclidean_length(self, distance: FloatPerRow) -> FloatPerRow:
        """Return the L2 length (B,) of a steepest step that is `distance` (B,) long in the ball's norm."""
        return self.ball.euclidean_length(distance, self.dimension)

    def room(self, direction: FloatBatch, at: FloatBatch | None = None) -> FloatBatch:
        """Return how far (B, ...) each component can go from `at` (x by default) within the range, along its sign.

        Where the direction is 0, how far downward. 0 where a component may not move.
        """
        return self.masked(outward(direction, *self._bounds_at(at)))

    def contains(self, x: FloatBatch) -> BoolPerRow:
        """Tell (B,) whether the inputs `x` (B, ...) lie in the region, to 1e-6 for rounding."""
        low, high = self.range
        inside = ((x >= low - TOLERANCE) & (x <= high + TOLERANCE)).flatten(1).all(1)
        return inside & (self.norm(x - self.x) <= self.eps + TOLERANCE * self.eps.clamp(min=1))

    # feasibility

    def clamp(self, x: FloatBatch) -> FloatBatch:
        """Return the inputs (B, ...) clipped to the range, and reset to x where they may not move."""
        return torch.clamp(x, *self.range)  # type: ignore[arg-type]

    def clamp_(self, x: FloatBatch) -> FloatBatch:
        """Return what `clamp` does, in the memory of `x`."""
        return torch.clamp_(x, *self.range)  # type: ignore[arg-type]

    def clamp_many(self, x: FloatStack) -> FloatStack:
        """Return what `clamp` does for several inputs per row (B, n, ...), without n copies of the region."""
        low, high = (b[:, None] if isinstance(b, Tensor) else b for b in self.range)
        return torch.clamp(x, low, high)  # type: ignore[arg-type]

    def clamp_many_(self, x: FloatStack) -> FloatStack:
        """Return what `clamp_many` does, in the memory of `x`."""
        low, high = (b[:, None] if isinstance(b, Tensor) else b for b in self.range)
        return torch.clamp_(x, low, high)  # type: ignore[arg-type]

    def project(self, delta: FloatBatch, radius: FloatPerRow | None = None) -> FloatBatch:
        """Return the nearest (in L2) perturbation to `delta` inside the region; `radius` (B,) replaces eps."""
        if radius is None and (isinstance(self.radius, Tensor) or self.radius != self.ball.eps):
            radius = self.eps
        return self.ball.project_between(delta, *self.bounds, radius)

    def nearest_many_(self, x: FloatStack) -> FloatStack:
        """Return the nearest inputs of the region to several per row (B, n, ...); `x` is overwritten."""
        if self.box is not None:
            return torch.clamp_(x, self.box[0][:, None], self.box[1][:, None])
        rows = torch.arange(len(x), device=x.device).repeat_interleave(x.shape[1])
        return self.take(rows).nearest_(x.flatten(0, 1)).view_as(x)

    def nearest_(self, x: FloatBatch) -> FloatBatch:
        """Return the nearest inputs of the region to `x` (B, ...), which is overwritten."""
        if self.box is not None:
            return torch.clamp_(x, *self.box)
        if isinstance(self.radius, float) and math.isinf(self.radius):
            return self.clamp_(x)
        return self.ball.nearest_within_(x, self.x, *self.range, lambda: self.bounds, self.eps, self._memory)

    def ascend_(self, grad: FloatBatch, x: FloatBatch, rate: Radius) -> FloatBatch:
        """Take one step of projected gradient ascent from `x` (B, ...), of size `rate`: a number, or (B,).

        The step is along the steepest direction of `grad`, which is overwritten; `x` is not.
        """
        if self.box is not None:  # which holds what may not move
            return torch.clamp_(self.ball.step_(grad, x, rate), *self.box)
        if not self.ball.sparse:
            return self.nearest_(self.ball.step_(self.masked(grad), x, rate))
        rate = rowwise(rate, x) if isinstance(rate, Tensor) else rate
        return self.nearest_(self.steepest(grad, at=x).mul_(rate).add_(x))

    def shrink(self, delta: FloatBatch, share: FloatPerRow) -> FloatBatch:
        """Return the nearest perturbation to `delta` that has `share` (B,) in [0, 1] of its norm.

        It lies on the way from x + delta back to x: the segment in L2, clipping in Linf, soft thresholds in L1.
        """
        return self.ball.shrink(delta, share)

    def onto_hyperplane(self, slope: FloatBatch, gain: FloatPerRow, at: FloatBatch | None = None) -> FloatBatch:
        """Return the smallest step from `at` (x by default), within the range, that raises <slope, .> by `gain` (B,).

        Where the range does not reach that far, the one that comes closest. ThreatError except in Linf, L2 and L1.
        """
        return self.ball.onto_hyperplane(self.masked(slope), gain, *self._bounds_at(at))

    def hyperplane_distance(self, slope: FloatBatch, gain: FloatPerRow, at: FloatBatch | None = None) -> FloatPerRow:
        """Return the norm (B,) of the least step that gains `gain` (B,) >= 0: gain / dual norm; in L0 a count."""
        return self.ball.hyperplane_distance(self.masked(slope), gain, *self._bounds_at(at))

    def _bounds_at(self, at: FloatBatch | None) -> tuple[Bound, Bound]:
        if at is None or at is self.x:
            return self.bounds
        low, high = self.range
        return low - at, high - at

    # draws

    def sample(self, key: Key, stream: str = "ball") -> FloatBatch:
        """Draw a perturbation (B, ...) uniformly from the ball of the free components, then project it onto the range.

        Raises ThreatError where a radius is infinite.
        """
        radius = self.radius
        if math.isinf(radius) if isinstance(radius, float) else bool(radius.isinf().any()):
            name = type(self.ball).__name__
            raise ThreatError(f"nothing can be drawn from a ball without a radius; pass {name}(eps), or eps= per row")

        def fresh() -> Tensor:
            return self.inputs.random(key, self.x, stream=stream)

        return self.project(self.ball.draw(key, self.x, radius, self.free, fresh, stream))

    def direction(self, key: Key, stream: str = "direction") -> FloatBatch:
        """Draw a perturbation (B, ...) of norm 1 in the free components, without regard to the valid range."""
        return self.ball.direction(key, self.x, self.free, stream)


def _mask_like(mask: Tensor, x: FloatBatch) -> Tensor:
    """The mask (B, ...), each row of which lets something move."""
    if mask.dtype != torch.bool:
        raise InputError(f"a mask is bool, and this is {mask.dtype}; pass mask > 0")
    try:
        free = mask.to(x.device).expand_as(x)
    except RuntimeError as error:
        raise InputError(f"a mask of shape {tuple(mask.shape)} does not fit inputs {tuple(x.shape)}") from error
    stuck = (~free.flatten(1).any(1)).nonzero().squeeze(1)
    if len(stuck):
        raise InputError(f"the mask leaves nothing to move in row {int(stuck[0])}; leave that row out")
    return free


def _checked_radii(eps: Tensor, x: Tensor) -> Tensor:
    """The radii (B,) in the dtype of x."""
    if eps.shape != (len(x),):
        raise ThreatError(f"radii of shape {tuple(eps.shape)} for {len(x)} inputs; pass one number per input")
    if not bool((eps >= 0).all()):
        raise ThreatError("a radius per row is a number >= 0, and some are negative or NaN")
    return eps.to(x)
