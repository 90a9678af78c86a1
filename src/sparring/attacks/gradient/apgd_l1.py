"""Auto-PGD in L1 (Croce & Hein 2021, arXiv:2103.01208, algorithm 1).

    u       = the top k_t of the gradient's coordinates, signed, of L1 norm 1
    x_{t+1} = Proj ( x_t + eta_t * u ),   the exact projection onto ball and range

Each row has a sparsity k_t and a step size eta_t of its own. Every 4 % of the steps k becomes two thirds of the number
of coordinates that the best point has moved. Where that number fell by 5 % or more the step size goes back to eps and
the row to its best point; elsewhere the step size is divided by 1.5, down to eps / 10.

The steps are spent at three radii in turn, 3 eps, 2 eps and eps (section 3.3), each from the best point of the one
before, projected: from outside the way to the edge of a thin ball is shorter. Only what lies within eps counts. As
in the authors' code the start is Gaussian noise, projected: it moves few coordinates far, where a point uniform in the
ball moves all a little, and was worse on each net tried.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Attack, Batch, Gradients, PositiveInt
from ...geometry import L1, Ball, rowwise
from ...geometry.region import Region
from ...goals import Climb
from ...perturbations import Additive
from .checkpoints import check_loss, radius_at

FIRST_SPARSITY, PERIOD = 0.2, 0.04  # shares of the components and of the steps
RADII = ((3.0, 0.3), (2.0, 0.3), (1.0, 0.4))  # radius in eps, share of the steps
SHRINK, LEAST, FEWER, DENSER = 1.5, 0.1, 0.95, 1.5


@dataclass(frozen=True)
class L1APGDState:
    """The perturbation of each row, its best one, and the sparsity of its steps. Others than delta are (B,)."""

    delta: Tensor
    best: Tensor  # the perturbation of the highest loss
    best_grad: Tensor
    best_loss: Tensor
    step_size: Tensor  # in L1 norm
    sparsity: Tensor  # k_t, the number of coordinates that a step moves
    moved: Tensor  # the number of coordinates that the best point had moved at the last checkpoint


@dataclass(frozen=True)
class L1APGD(Attack[Gradients, L1APGDState]):
    """Ascend the loss in L1 along few coordinates, with a sparsity and a step size that adapt.

    Args:
        ball: L1 with a finite eps.
        steps: the number of gradient steps (100 in AutoAttack).
        loss: the loss to ascend, as in APGD; None: the goal's own, or under `Rivals` a rival's.
        use_largereps: begin at larger radii, as AutoAttack does; False: all steps at eps.
    """

    ball: Ball
    steps: PositiveInt = 100
    loss: Climb | None = None
    use_largereps: bool = True

    norms: ClassVar[tuple[type[Ball], ...]] = (L1,)
    alternative: ClassVar[str] = "APGD"
    spends_radius: ClassVar[bool] = True
    uses_region: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_loss("L1APGD", self.loss)

    @property
    def queries_outside_ball(self) -> bool:
        return self.use_largereps

    def _radius_at(self, t: int) -> tuple[float, int, int]:
        """At step t: the radius in eps, the steps since it was set, and how many it has."""
        return radius_at(t, self.steps, RADII if self.use_largereps else RADII[-1:])

    def init(self, oracle: Gradients, batch: Batch) -> L1APGDState:
        region, radius = oracle.region, self._radius_at(0)[0] * oracle.region.eps
        start = region.project(oracle.key.normal("start", region.x.shape[1:], dtype=region.x.dtype), radius)
        return L1APGDState(
            delta=start,
            best=start,
            best_grad=torch.zeros_like(start),
            best_loss=torch.full_like(radius, -torch.inf),
            step_size=radius,
            sparsity=FIRST_SPARSITY * region.dimension,
            moved=region.dimension,
        )

    def step(self, oracle: Gradients, state: L1APGDState, t: int) -> L1APGDState:
        region, (factor, since, length) = oracle.region, self._radius_at(t)
        radius = factor * region.eps
        if t and since == 0:
            state = self._restart_at(region, state, radius)
        answer = oracle.gradient(state.delta, render=Additive(region.x), loss=self.loss)
        better = answer.value > state.best_loss
        state = replace(
            state,
            best=torch.where(rowwise(better, state.delta), state.delta, state.best),
            best_grad=torch.where(rowwise(better, state.delta), answer.grad, state.best_grad),
            best_loss=torch.where(better, answer.value, state.best_loss),
        )
        delta, grad = state.delta, answer.grad
        if (since + 1) % max(1, int(PERIOD * length)) == 0:
            state, back = self._checkpoint(state, radius)
            delta = torch.where(rowwise(back, delta), state.best, delta)
            grad = torch.where(rowwise(back, grad), state.best_grad, grad)
        direction = _top_coordinates(region.masked(grad), state.sparsity)
        return replace(state, delta=region.project(delta + direction * rowwise(state.step_size, grad), radius))

    def _restart_at(self, region: Region, state: L1APGDState, radius: Tensor) -> L1APGDState:
        """Start the search again at a smaller radius (B,), each row from its best point, projected."""
        delta = region.project(state.best, radius)
        moved = _count_moved(delta)
        return replace(
            state,
            delta=delta,
            best=delta,
            best_loss=torch.full_like(moved, -torch.inf),
            step_size=radius,
            sparsity=(moved / DENSER).clamp(min=1),
            moved=moved,
        )

    def _checkpoint(self, state: L1APGDState, radius: Tensor) -> tuple[L1APGDState, Tensor]:
        """Adapt sparsities and step sizes, and tell which rows (B,) go back to their best point."""
        moved = _count_moved(state.best)
        fewer = moved < FEWER * state.moved
        step_size = torch.where(fewer, radius, torch.maximum(state.step_size / SHRINK, LEAST * radius))
        return replace(state, step_size=step_size, sparsity=(moved / DENSER).clamp(min=1), moved=moved), fewer

    def finish(self, oracle: Gradients, state: L1APGDState) -> None:
        oracle.score(oracle.region.x + state.delta)


def _count_moved(delta: Tensor) -> Tensor:
    """(B,) how many components of delta (B, ...) are not zero."""
    return (delta != 0).flatten(1).sum(1).to(delta.dtype)


def _top_coordinates(grad: Tensor, count: Tensor) -> Tensor:
    """The signs of the `count` (B,) largest coordinates of each row, over their number."""
    size = grad.abs().flatten(1)
    rank = size.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    kept = (rank < count[:, None].ceil()) & (size > 0)
    return grad.sign() * kept.view_as(grad) / rowwise(kept.sum(1).clamp(min=1), grad)
