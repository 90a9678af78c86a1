"""The laws that every ball must pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..geometry import L0, L1, L2, Ball, Linf
from ..random import Key
from .attack_laws import require
from .cases import draw

DUAL: dict[type[Ball], Any] = {Linf: 1.0, L2: 2.0, L1: torch.inf}


def is_feasible(ball: Ball, delta: Tensor, x: Tensor, tolerance: float = 1e-9) -> bool:
    """Return True if every row of x + delta (N, ...) is in [0, 1] and every delta in the ball, within tolerance."""
    inside = (x + delta >= -tolerance).all() and (x + delta <= 1 + tolerance).all()
    return bool(inside and (ball.norm(delta) <= ball.eps * (1 + 1e-9) + tolerance).all())


def check_projection(ball: Ball, x: Tensor, delta: Tensor) -> None:
    """The projection is feasible, leaves feasible points alone, and no feasible point is nearer."""
    near = ball.project(delta, x)
    require(is_feasible(ball, near, x), f"{ball} projects outside itself")
    again = ball.project(near, x)
    require((again - near).abs().max() < 1e-7, f"{ball} moves a point that it has projected")
    distance = (delta - near).flatten(1).norm(dim=1)
    key = Key(torch.arange(len(x)), 11)
    for i in range(20):
        other = ball.sample(key.reseeded(i), x)
        require(is_feasible(ball, other, x, 1e-7), f"{ball} samples outside itself")
        for share in (1.0, 0.1, 0.001):
            if isinstance(ball, L0) and share < 1:
                continue  # not convex
            trial = near + share * (other - near)
            shorter = distance - (delta - trial).flatten(1).norm(dim=1)
            require(shorter.max() < 1e-6, f"{ball}: a feasible point is nearer by {shorter.max():g}")


def check_steepest(ball: Ball, grad: Tensor) -> None:
    """steepest has norm 1 and reaches the dual norm; a zero gradient gives zero, not NaN."""
    step = ball.steepest(grad)
    gain = (step * grad).flatten(1).sum(1)
    best = torch.linalg.vector_norm(grad.flatten(1), ord=DUAL[type(ball)], dim=1)
    require((ball.norm(step) - 1).abs().max() < 1e-6, f"{ball}: the steepest direction has another norm than 1")
    require((gain - best).abs().max() < 1e-6 * best.max(), f"{ball}: steepest gains {gain} of {best}")
    zero = ball.steepest(torch.zeros_like(grad))
    require(not zero.any() and zero.isfinite().all(), f"{ball}: a zero gradient has a steepest direction")
    small = ball.steepest(grad * 1e-200)
    require((small - step).abs().max() < 1e-6, f"{ball}: tiny gradients underflow")


def check_sample(ball: Ball, x: Tensor) -> None:
    """A draw depends on the row's key alone."""
    whole = ball.sample(Key(torch.arange(len(x)), 3), x)
    for row in (0, len(x) - 1):
        alone = ball.sample(Key(torch.tensor([row]), 3), x[row : row + 1])
        require(torch.equal(alone[0], whole[row]), f"{ball}: a sample depends on its batch")
    other = ball.sample(Key(torch.arange(len(x)), 4), x)
    require(not torch.equal(other, whole), f"{ball}: another seed samples the same point")


def check_geometry(ball: Ball, x: Tensor | None = None) -> None:
    """All of it, on images `x` (B, C, H, W) or on some of ours."""
    if x is None:
        x = (0.5 + 0.4 * draw("geometry", (6, 3, 5, 4))).clamp(0, 1)
    for scale in (1e-3, 0.05, 1.0, 30.0):
        check_projection(ball, x, scale * draw(f"delta {scale}", tuple(x.shape)))
    check_sample(ball, x)
    if type(ball) in DUAL and not (isinstance(ball, L1) and ball.share * x[0].numel() > 1.5):
        check_steepest(ball, draw("grad", tuple(x.shape)))
