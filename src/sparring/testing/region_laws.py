"""The laws that every region (a ball cut by a range and a mask) must pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ..geometry import L0, L1, L2, Ball, Linf
from ..geometry.region import Region
from ..random import Key
from .attack_laws import require
from .cases import draw

EXACT = 1e-10  # in float64
HALVINGS = 140


def check_region(region: Region) -> None:
    """Try all laws on a region in float64; AssertionError names the law that is broken."""
    for scale in (1e-3, 0.3, 1.0, 30.0):
        check_region_projection(region, scale * draw(f"delta {scale}", tuple(region.x.shape)))
    check_rows_alone(region)
    check_masked(region)
    check_directions(region)
    check_draws(region)
    check_shrink(region)


def check_region_projection(region: Region, delta: Tensor) -> None:
    """The projection is feasible, leaves feasible points alone, and is the nearest one."""
    near = region.project(delta)
    require(bool(near.isfinite().all()), f"{region.ball} projects onto NaN or infinity")
    require(bool(region.contains(region.x + near).all()), f"{region.ball} projects outside its region")
    require(_apart(region.project(near), near) < 1e-9, f"{region.ball} moves a point that it has projected")
    moved = region.nearest_((region.x + delta).clone())
    require(_apart(moved - region.x, near) < 1e-9, f"{region.ball}: nearest_ and project disagree")
    slow = nearest_by_halving(region, delta)
    if slow is not None:
        far = _apart(near, slow) / max(1.0, float(delta.abs().max()))
        require(far < EXACT, f"{region.ball}: the projection is {far:g} away from the nearest point")
    if bool(region.eps.isfinite().all()):
        distance, key = _lengths(delta - near), Key(torch.arange(len(region)), 11)
        for i in range(10):
            shorter = distance - _lengths(delta - region.sample(key.reseeded(i)))
            require(float(shorter.max()) < 1e-6, f"{region.ball}: a point that was drawn is nearer than the projection")


def nearest_by_halving(region: Region, delta: Tensor) -> Tensor | None:
    """The projection by halving the one multiplier of the problem, in no hurry; None for balls that are not convex.

    L2: clip(delta / (1 + t)). L1: clip(sign(delta) max(|delta| - t, 0)). Linf: no multiplier.
    """
    low, high = (torch.as_tensor(b, dtype=delta.dtype) - region.x for b in region.range)
    shrunk: dict[type[Ball], Callable[[Tensor], Tensor]] = {
        Linf: lambda t: delta.clamp(-_wide(region.eps, delta), _wide(region.eps, delta)).clamp(low, high),
        L2: lambda t: (delta / (1 + _wide(t, delta))).clamp(low, high),
        L1: lambda t: (delta.sign() * (delta.abs() - _wide(t, delta)).clamp_min(0)).clamp(low, high),
    }
    point = next((one for kind, one in shrunk.items() if isinstance(region.ball, kind)), None)
    if point is None:
        return None
    below, above = torch.zeros_like(region.eps), torch.full_like(region.eps, 1e15)
    for _ in range(HALVINGS):
        middle = (below + above) / 2
        out = region.norm(point(middle)) > region.eps
        below, above = torch.where(out, middle, below), torch.where(out, above, middle)
    fits = region.norm(point(torch.zeros_like(below))) <= region.eps
    return point(above.where(~fits, 0))


def check_rows_alone(region: Region) -> None:
    """Each row of a region is what the region of that row alone is."""
    delta = draw("rows", tuple(region.x.shape))
    near, step, dual = region.project(delta), region.steepest(delta), region.dual_norm(delta)
    for row in range(len(region)):
        alone = region.take(torch.tensor([row]))
        one = delta[row : row + 1]
        require(_apart(alone.project(one)[0], near[row]) < EXACT, f"{region.ball}: row {row} has another's radius")
        require(_apart(alone.steepest(one)[0], step[row]) < EXACT, f"{region.ball}: steepest depends on other rows")
        require(abs(float(alone.dual_norm(one) - dual[row])) < EXACT, f"{region.ball}: dual norm depends on other rows")


def check_masked(region: Region) -> None:
    """What a mask leaves free behaves as a problem of its own, in its components alone."""
    if region.free is None or (isinstance(region.ball, L0) and region.ball.grouped):
        return
    delta, gain = draw("masked", tuple(region.x.shape)), torch.full_like(region.eps, 0.1)
    whole = {
        "project": region.project(delta),
        "nearest_": region.nearest_((region.x + delta).clone()),
        "steepest": region.steepest(delta),
        "ascend_": region.ascend_(delta.clone(), region.x, 0.05),
        "room": region.room(delta),
    }
    if isinstance(region.ball, (Linf, L2, L1)):
        whole["onto_hyperplane"] = region.onto_hyperplane(delta, gain)
    for row in range(len(region)):
        free = region.free[row]
        alone, values = without_mask(region, row), delta[row][free][None]
        parts = {
            "project": alone.project(values),
            "nearest_": alone.nearest_((alone.x + values).clone()),
            "steepest": alone.steepest(values),
            "ascend_": alone.ascend_(values.clone(), alone.x, 0.05),
            "room": alone.room(values),
        }
        if "onto_hyperplane" in whole:
            parts["onto_hyperplane"] = alone.onto_hyperplane(values, gain[:1])
        for name, part in parts.items():
            found = whole[name][row]
            require(_apart(found[free], part[0]) < EXACT, f"{region.ball}: {name} counts what may not move")
            still = region.x[row] if name in ("nearest_", "ascend_") else torch.zeros_like(found)
            require(torch.equal(found[~free], still[~free]), f"{region.ball}: {name} moves what may not move")
        require(float(region.dimension[row]) == values.numel(), f"{region.ball}: a wrong dimension under a mask")
        require(
            abs(float(region.dual_norm(delta)[row] - alone.dual_norm(values))) < EXACT,
            f"{region.ball}: the dual norm counts what may not move",
        )


def without_mask(region: Region, row: int) -> Region:
    """The problem of one row in its free components alone, (1, n)."""
    assert region.free is not None
    free = region.free[row]
    low, high = (
        b if not isinstance(b, Tensor) else b.expand_as(region.x)[row][free][None] for b in (region.low, region.high)
    )
    return replace(region, x=region.x[row][free][None], low=low, high=high, eps=region.eps[row : row + 1], free=None)


def check_directions(region: Region) -> None:
    """The steepest direction has norm 1 and gains the dual norm; no gradient gives none, a tiny one a whole."""
    grad = draw("grad", tuple(region.x.shape))
    step, dual = region.steepest(grad), region.dual_norm(grad)
    require(not region.steepest(torch.zeros_like(grad)).any(), f"{region.ball}: a zero gradient has a direction")
    small = region.steepest(grad * 1e-200)
    require(_apart(small, step) < 1e-9, f"{region.ball}: tiny gradients underflow")
    if isinstance(region.ball, L0) or (isinstance(region.ball, L1) and region.ball.share * region.x[0].numel() > 1.5):
        return  # these move more components than the steepest one
    gain = (step * grad).flatten(1).sum(1)
    require(_apart(gain, dual) < 1e-9 * float(dual.max()), f"{region.ball}: steepest does not gain the dual norm")
    require(_apart(region.norm(step), torch.ones_like(gain)) < 1e-9, f"{region.ball}: a steepest step is not 1 long")


def check_draws(region: Region) -> None:
    """Draws lie in the region, move what is free alone, depend on the row's key alone, and differ by seed."""
    if bool(region.eps.isinf().any()):
        return
    key = Key(torch.arange(len(region)), 3)
    drawn = region.sample(key)
    require(bool(region.contains(region.x + drawn).all()), f"{region.ball} draws outside its region")
    require(not bool((drawn - region.masked(drawn)).any()), f"{region.ball} draws what may not move")
    row = len(region) - 1
    alone = region.take(torch.tensor([row])).sample(Key(torch.tensor([row]), 3))
    require(_apart(alone[0], drawn[row]) < EXACT, f"{region.ball}: a draw depends on its batch")
    others = [region.sample(key.reseeded(i)) for i in range(20)]
    differ = any(not torch.equal(other, drawn) for other in others)
    require(differ or not bool((region.eps > 0).any()), f"{region.ball}: every seed draws the same")


def check_shrink(region: Region) -> None:
    """`shrink` keeps the share of the norm, of a whole perturbation all and of none nothing."""
    delta = region.project(draw("shrink", tuple(region.x.shape)))
    for share in (0.0, 0.3, 1.0):
        part = region.shrink(delta, torch.full_like(region.eps, share))
        wanted = share * region.norm(delta)
        wanted = wanted.floor() if isinstance(region.ball, L0) else wanted
        far = _apart(region.norm(part), wanted) / max(1.0, float(wanted.max()))
        require(far < 1e-9, f"{region.ball}: `shrink` misses the norm asked for by {far:g}")
        require(bool(region.contains(region.x + part).all()), f"{region.ball} shrinks out of its region")


def _wide(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *[1] * (like.ndim - 1))


def _lengths(values: Tensor) -> Tensor:
    length: Tensor = values.flatten(1).norm(dim=1)
    return length


def _apart(a: Tensor, b: Tensor) -> float:
    """The largest difference; none between equal infinities."""
    return float(torch.where(a == b, 0, (a - b).abs()).max()) if a.numel() else 0.0
