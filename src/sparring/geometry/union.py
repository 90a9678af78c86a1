"""The union of several balls as one threat."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch

from ..errors import ThreatError
from ..random import Key
from ..shapes import BoolBatch, FloatBatch, FloatPerRow, IntPerRow
from .ball import Ball, Bound, Radius, rowwise

ROUNDING = 1e-6  # of a radius, and no less in its units: what the ledger lets pass


@dataclass(frozen=True)
class Union(Ball):
    """The union of `balls`: min_i |delta|_i / eps_i <= 1, with every eps_i above 0 and finite.

    The norm is a share of the radii, and what exceeds one of them by rounding alone counts as its edge. A union is not
    convex: a point between two members may be none.

    Raises:
        ThreatError: `balls` is no tuple of balls, is empty, or holds a union or a radius that is 0 or infinite.
    """

    eps: float = field(default=1.0, init=False)
    balls: tuple[Ball, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.balls, tuple) or not self.balls:
            raise ThreatError(f"a union of {self.balls!r}; pass a tuple of balls, as (Linf(0.3), L2(2), L1(10))")
        for ball in self.balls:
            if not isinstance(ball, Ball) or isinstance(ball, Union) or not 0 < ball.eps < math.inf:
                raise ThreatError(f"a union holds {ball!r}; each part is a ball with an epsilon above 0, as Linf(0.3)")

    def check(self, x: FloatBatch, low: float = 0.0, high: float = 1.0, eps: float | None = None) -> None:
        """Raise ThreatError where the radius of one of the balls, or `eps` of it, exceeds the diameter of the range."""
        for ball in self.balls:
            ball.check(x, low, high, None if eps is None else eps * ball.eps)

    @property
    def sparse(self) -> bool:  # type: ignore[override]
        """Whether one of the balls is sparse."""
        return any(ball.sparse for ball in self.balls)

    def with_channel_axis(self, axis: int | None) -> Union:
        """Return the union of the balls for inputs whose sites have their components along this axis."""
        return replace(self, balls=tuple(ball.with_channel_axis(axis) for ball in self.balls))

    def norm(self, delta: FloatBatch) -> FloatPerRow:
        """Return the smallest norm (B,) of delta in units of the balls' radii."""
        shares = []
        for ball in self.balls:
            size = ball.norm(delta)
            edge = (size > ball.eps) & (size <= ball.eps + ROUNDING * max(1.0, ball.eps))
            shares.append((size / ball.eps).masked_fill(edge, 1.0))
        return torch.stack(shares).amin(0)

    def dual_norm(self, grad: FloatBatch) -> FloatPerRow:
        """Return the largest dual norm (B,) times radius over the balls."""
        return torch.stack([ball.dual_norm(grad) * ball.eps for ball in self.balls]).amax(0)

    def steepest(
        self,
        grad: FloatBatch,
        at: FloatBatch | None = None,
        movable: BoolBatch | None = None,
        dimension: FloatPerRow | None = None,
    ) -> FloatBatch:
        """Return eps_i times the steepest direction of the ball in which a linear function grows most."""
        steps = [ball.steepest(grad, at, movable, dimension) * ball.eps for ball in self.balls]
        gains = torch.stack([(step * grad).flatten(1).sum(1) for step in steps])
        return picked(steps, gains.argmax(0))

    def project_between(
        self, delta: FloatBatch, lower: Bound, upper: Bound, radius: FloatPerRow | None = None
    ) -> FloatBatch:
        """Return the nearest of the projections onto each ball; `radius` (B,) is a share of the radii, as the norm."""
        near = [
            ball.project_between(delta, lower, upper, None if radius is None else radius * ball.eps)
            for ball in self.balls
        ]
        away = torch.stack([(delta - one).flatten(1).norm(dim=1) for one in near])
        return picked(near, away.argmin(0))

    def draw(
        self,
        key: Key,
        x: FloatBatch,
        radius: Radius,
        free: BoolBatch | None,
        fresh: Callable[[], FloatBatch],
        stream: str,
    ) -> FloatBatch:
        """Draw from one of the balls, each as likely as the others; `radius` is a share of the radii, as the norm."""
        which = key.integers(f"{stream} which", (1,), len(self.balls)).squeeze(1)
        return picked([ball.draw(key, x, radius * ball.eps, free, fresh, stream) for ball in self.balls], which)

    def sample(self, key: Key, x: FloatBatch, stream: str = "ball") -> FloatBatch:
        """Draw from one of the balls, each as likely as the others, and project onto the valid range [0, 1]."""
        which = key.integers(f"{stream} which", (1,), len(self.balls)).squeeze(1)
        return picked([ball.sample(key, x, stream) for ball in self.balls], which)

    def __str__(self) -> str:
        return " or ".join(str(ball) for ball in self.balls)


def picked(options: Sequence[FloatBatch], which: IntPerRow) -> FloatBatch:
    """Return row by row one of the tensors (B, ...): the one at place `which` (B,)."""
    chosen = options[0]
    for place, option in enumerate(options[1:], start=1):
        chosen = torch.where(rowwise(which == place, chosen), option, chosen)
    return chosen
