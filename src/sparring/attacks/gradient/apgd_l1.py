"""Auto-PGD in L1 (Croce & Hein 2021, arXiv:2103.01208, algorithm 1).

    u       = the top k_t of the gradient's coordinates, signed, of L1 norm 1
    x_{t+1} = Proj ( x_t + step * u ),   the exact projection onto ball and box

Each row has a sparsity and a step of its own. Every 4 % of the steps k becomes two thirds of the number of
coordinates that the best point has moved. Where that number fell by 5 % or more the step goes back to eps and the
row to its best point; elsewhere the step is divided by 1.5, down to eps / 10.

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

from ...access import Attack, Batch, Gradients
from ...errors import ConfigError
from ...geometry import L1, Ball, rowwise
from ...geometry.region import Region
from ...goals import Climb
from ...perturbations import Additive

FIRST_SHARE, PERIOD = 0.2, 0.04
STAGES = ((3.0, 0.3), (2.0, 0.3), (1.0, 0.4))  # radius in eps, share of the steps
SHRINK, LEAST, FEWER, DENSER = 1.5, 0.1, 0.95, 1.5


@dataclass(frozen=True)
class Sparse:
    """Where each row stands, its best point, and how many coordinates its next step moves."""

    delta: Tensor
    best: Tensor  # perturbation
    best_grad: Tensor
    best_value: Tensor
    step: Tensor  # in units of the norm
    count: Tensor  # coordinates that a step moves
    moved: Tensor  # coordinates that the best point had moved at the last checkpoint


@dataclass(frozen=True)
class L1APGD(Attack[Gradients, Sparse]):
    """Parameter-free projected gradient ascent in L1.

    Args:
        ball: L1 with a finite eps.
        steps: gradient steps (100 in AutoAttack).
        loss: what is climbed, as in APGD; None: the goal's own, or under `Rivals` a rival's.
        stages: begin at larger radii; False: all steps at eps.
    """

    ball: Ball
    steps: int = 100
    loss: Climb | None = None
    stages: bool = True

    norms: ClassVar[tuple[type[Ball], ...]] = (L1,)
    elsewhere: ClassVar[str] = "APGD"
    spends_radius: ClassVar[bool] = True
    regional: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1 or not isinstance(self.loss, Climb | None):
            raise ConfigError(f"L1APGD steps={self.steps}, loss={self.loss!r}; pass steps >= 1 and a Climb or None")

    @property
    def queries_outside_ball(self) -> bool:
        return self.stages

    def _stage(self, t: int) -> tuple[float, int, int]:
        """At step t: the radius in eps, the steps since it was set, and how many it has."""
        if not self.stages:
            return 1.0, t, self.steps
        earlier = 0
        for times, share in STAGES[:-1]:
            length = int(share * self.steps)
            if t < earlier + length:
                return times, t - earlier, length
            earlier += length
        return 1.0, t - earlier, self.steps - earlier

    def init(self, oracle: Gradients, batch: Batch) -> Sparse:
        region, radius = oracle.region, self._stage(0)[0] * oracle.region.eps
        start = region.project(oracle.key.normal("start", region.x.shape[1:], dtype=region.x.dtype), radius)
        return Sparse(
            delta=start,
            best=start,
            best_grad=torch.zeros_like(start),
            best_value=torch.full_like(radius, -torch.inf),
            step=radius,
            count=FIRST_SHARE * region.dimension,
            moved=region.dimension,
        )

    def step(self, oracle: Gradients, state: Sparse, t: int) -> Sparse:
        region, (times, place, length) = oracle.region, self._stage(t)
        radius = times * region.eps
        if t and place == 0:
            state = self._narrowed(region, state, radius)
        answer = oracle.gradient(state.delta, render=Additive(region.x), loss=self.loss)
        better = answer.value > state.best_value
        state = replace(
            state,
            best=torch.where(rowwise(better, state.delta), state.delta, state.best),
            best_grad=torch.where(rowwise(better, state.delta), answer.grad, state.best_grad),
            best_value=torch.where(better, answer.value, state.best_value),
        )
        delta, grad = state.delta, answer.grad
        if (place + 1) % max(1, int(PERIOD * length)) == 0:
            state, back = self._checkpoint(state, radius)
            delta = torch.where(rowwise(back, delta), state.best, delta)
            grad = torch.where(rowwise(back, grad), state.best_grad, grad)
        moved = delta + _top(region.masked(grad), state.count) * rowwise(state.step, grad)
        return replace(state, delta=region.project(moved, radius))

    def _narrowed(self, region: Region, state: Sparse, radius: Tensor) -> Sparse:
        """Every row at its best point so far, projected onto the smaller ball, with its search begun anew."""
        delta = region.project(state.best, radius)
        moved = _spread(delta)
        return replace(
            state,
            delta=delta,
            best=delta,
            best_value=torch.full_like(moved, -torch.inf),
            step=radius,
            count=(moved / DENSER).clamp(min=1),
            moved=moved,
        )

    def _checkpoint(self, state: Sparse, radius: Tensor) -> tuple[Sparse, Tensor]:
        """Who goes back to its best point, with the new sparsities and steps."""
        moved = _spread(state.best)
        fewer = moved < FEWER * state.moved
        step = torch.where(fewer, radius, torch.maximum(state.step / SHRINK, LEAST * radius))
        return replace(state, step=step, count=(moved / DENSER).clamp(min=1), moved=moved), fewer

    def finish(self, oracle: Gradients, state: Sparse) -> None:
        oracle.score(oracle.region.x + state.delta)


def _spread(delta: Tensor) -> Tensor:
    """(B,) how many components are not zero."""
    return (delta != 0).flatten(1).sum(1).to(delta.dtype)


def _top(grad: Tensor, count: Tensor) -> Tensor:
    """The signs of the `count` (B,) largest coordinates of each row, over their number."""
    size = grad.abs().flatten(1)
    rank = size.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    kept = (rank < count[:, None].ceil()) & (size > 0)
    return grad.sign() * kept.view_as(grad) / rowwise(kept.sum(1).clamp(min=1), grad)
