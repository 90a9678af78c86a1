"""SuperDeepFool (Abdolahpourrostam et al. 2023, arXiv:2303.12481, algorithm 2): SDF(m, n).

    m times, or until x' succeeds       x' = x' + (1 + overshoot) (|f| / |w|_2 + 1e-4) w / |w|_2
    n times                             x' = x + <x' - x, w> w / |w|_2^2

and again, and at last a search on the line from x to the best x' for the boundary. f is the logit of a class minus
that of the label at x', and w its gradient. The shortest perturbation to a boundary is along its normal, so x' - x is
projected onto the normal.

Departures: the paper stops at the first projection that succeeds. Here a row goes on; each success that is no nearer
than 0.999 of the best halves the relaxation, the share of the way to x + <..> w that a projection takes, and the third
ends the row. Where x' succeeds, the projection ends on the linearised boundary (<x' - x, w> - f). DeepFool looks for
the nearest class once, at the image; from there on w is the gradient of the margin, one backward pass instead of one
for each class. In DeepFool's steps, pixels that the valid range holds are left out of w. The search is by secants
(Illinois) instead of bisection.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from ...access import Batch, Bounds, Jacobians, NonNegativeFloat, NonNegativeInt, PositiveInt, margin_objective
from ...geometry import L2, Ball, rowwise, tiny
from ...geometry.region import Region
from ..minimum_norm import MinimumNormAttack
from .boundary_search import illinois_search
from .linear_boundary import nearest_boundary

SLACK, PROGRESS = 1e-4, 0.999
SMALLEST_RELAXATION = 0.2


@dataclass(frozen=True)
class SuperDeepFoolState:
    """The iterate of each row, its nearest example, and the phase of its search; (B,) unless stated otherwise."""

    image: Tensor  # (B, ...)
    best: Tensor  # (B, ...) the nearest example
    size: Tensor  # its distance; infinite before the first
    margins: Tensor  # (B, 2) at the input, and at the nearest example
    count: Tensor  # int64: DeepFool steps since the last projection; negative: projections that are left
    relaxation: Tensor  # the share of the way that a projection takes
    active: Tensor  # bool: is the row still searching?


@dataclass(frozen=True)
class SuperDeepFool(MinimumNormAttack[Jacobians, SuperDeepFoolState]):
    """Find the smallest L2 norm: DeepFool with projections onto the normal of the boundary.

    Args:
        ball: L2; a finite eps asks for examples within it.
        steps: the largest number of gradients per row.
        df_steps: m, DeepFool steps before a projection; None: until success (SDF(infinity, n), the paper's choice).
            With few, rows may be turned back again and again short of the boundary.
        projection_steps: n, projections in a row (1 in the paper's choice).
        candidates: the number of most likely classes that are considered at first, the label included.
        overshoot: the share by which a DeepFool step goes beyond the boundary (0.02 in the paper).
        search_iter: forward passes of the line search (10 bisections in the authors' code).
    """

    ball: Ball = L2()
    steps: PositiveInt = 50
    df_steps: PositiveInt | None = None
    projection_steps: PositiveInt = 1
    candidates: Annotated[int, Bounds(ge=2)] = 10
    overshoot: NonNegativeFloat = 0.02
    search_iter: NonNegativeInt = 4

    norms: ClassVar[tuple[type[Ball], ...]] = (L2,)
    alternative: ClassVar[str] = "DeepFool or FMN"

    def init(self, oracle: Jacobians, batch: Batch) -> SuperDeepFoolState:
        x, none = oracle.region.x, torch.full_like(oracle.region.eps, torch.inf)
        count = torch.zeros_like(oracle.key.indices)
        margins = torch.stack((none, none), dim=1)
        return SuperDeepFoolState(x, x, none, margins, count, torch.ones_like(none), count == 0)

    def step(self, oracle: Jacobians, state: SuperDeepFoolState, t: int) -> SuperDeepFoolState:
        region = oracle.region
        margin, value, grad = self._first(oracle) if t == 0 else _linearized(oracle, state)
        grad = region.masked(grad)
        found, size = state.active & (margin > 0), region.norm(state.image - region.x)
        better = found & (size < state.size)
        relaxation = torch.where(found & (size > PROGRESS * state.size), state.relaxation / 2, state.relaxation)
        active = state.active & (relaxation > SMALLEST_RELAXATION)
        first, best = state.margins.unbind(1)
        projecting = found | (state.count < 0)
        if self.df_steps is not None:
            projecting |= state.count >= self.df_steps
        projected = state.image.lerp(_projected(region, state, grad, value), rowwise(relaxation, grad))
        moved = torch.where(rowwise(projecting, grad), projected, self._deepfool_step(region, state, grad, value))
        left = torch.where(state.count < 0, state.count + 1, 1 - self.projection_steps)
        state = SuperDeepFoolState(
            image=region.clamp_(torch.where(rowwise(active, moved), moved, state.image)),
            best=torch.where(rowwise(better, moved), state.image, state.best),
            size=torch.where(better, size, state.size),
            margins=torch.stack((margin if t == 0 else first, torch.where(better, margin, best)), dim=1),
            count=torch.where(projecting, left, state.count + 1),
            relaxation=relaxation,
            active=active,
        )
        if t + 1 < self.steps and bool(active.any()):
            return state
        rows = state.size.isfinite().nonzero().squeeze(1)
        illinois_search(oracle, state.best, state.margins, rows, self.search_iter)
        return replace(state, active=torch.zeros_like(active))

    def _first(self, oracle: Jacobians) -> tuple[Tensor, Tensor, Tensor]:
        """The margin, and value and gradient of the class whose linearised boundary is nearest."""
        answer = oracle.jacobian(oracle.region.x, self.candidates - 1)
        boundary, _ = nearest_boundary(oracle.region, answer)
        return boundary.margin, boundary.value, boundary.grad

    def _deepfool_step(self, region: Region, state: SuperDeepFoolState, grad: Tensor, value: Tensor) -> Tensor:
        free = grad * (region.room(grad, state.image) > 0)
        length = free.flatten(1).norm(dim=1).clamp_min(tiny(free))
        scale = (1 + self.overshoot) * (value.abs() / length + SLACK) / length
        return state.image + free * rowwise(scale.nan_to_num(0.0, 0.0, 0.0), free)

    def done(self, state: SuperDeepFoolState) -> Tensor | None:
        return None if bool(state.active.any()) else ~state.active


def _linearized(oracle: Jacobians, state: SuperDeepFoolState) -> tuple[Tensor, Tensor, Tensor]:
    """The margin (twice) and its gradient where rows are active."""
    rows = state.active.nonzero().squeeze(1)
    answer = oracle.gradient(state.image[rows], objective=margin_objective, rows=rows)
    margin = torch.full_like(state.size, -torch.inf).index_copy(0, rows, answer.verdict.margin)
    return margin, margin, torch.zeros_like(state.image).index_copy(0, rows, answer.grad)


def _projected(region: Region, state: SuperDeepFoolState, grad: Tensor, value: Tensor) -> Tensor:
    """The projection of the perturbation onto the normal, at most as far as the linearised boundary."""
    normal = region.steepest(grad)
    beyond = value.clamp_min(0) / grad.flatten(1).norm(dim=1).clamp_min(tiny(grad))
    return region.x + normal * rowwise(((state.image - region.x) * normal).flatten(1).sum(1) - beyond, normal)
