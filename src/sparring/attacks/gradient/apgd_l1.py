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

import torch
from torch import Tensor

from ...access import Attack, Batch, Gradients
from ...errors import ConfigError, ThreatError
from ...geometry import L1, Ball, rowwise
from ...goals import Climb
from ...perturbations import Additive

FIRST_SHARE, PERIOD = 0.2, 0.04
STAGES = ((3.0, 0.3), (2.0, 0.3), (1.0, 0.4))  # radius in eps, share of the steps
SHRINK, LEAST, FEWER, DENSER = 1.5, 0.1, 0.95, 1.5


@dataclass(frozen=True)
class Sparse:
    """Where each row stands, its best point, and how many coordinates its next step moves."""

    x: Tensor
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

    def __post_init__(self) -> None:
        self.ball.bounded(self.name)
        if not isinstance(self.ball, L1):
            raise ThreatError(f"L1APGD knows L1, not {self.ball}; use APGD there")
        if self.steps < 1 or not isinstance(self.loss, Climb | None):
            raise ConfigError(f"L1APGD steps={self.steps}, loss={self.loss!r}; pass steps >= 1 and a Climb or None")

    @property
    def wanders(self) -> bool:
        return self.stages

    def _stage(self, t: int) -> tuple[float, int, int]:
        """At step t: the radius, the steps since it was set, and how many it has."""
        if not self.stages:
            return self.ball.eps, t, self.steps
        earlier = 0
        for times, share in STAGES[:-1]:
            length = int(share * self.steps)
            if t < earlier + length:
                return times * self.ball.eps, t - earlier, length
            earlier += length
        return self.ball.eps, t - earlier, self.steps - earlier

    def init(self, oracle: Gradients, batch: Batch) -> Sparse:
        x, size = batch.x, batch.x[0].numel()
        noise, like = batch.key.normal("start", x.shape[1:], dtype=x.dtype), x[:, 0, 0, 0]
        start = self._held(noise, x, self._stage(0)[0])
        return Sparse(
            x=x,
            delta=start,
            best=start,
            best_grad=torch.zeros_like(x),
            best_value=torch.full_like(like, -torch.inf),
            step=torch.full_like(like, self._stage(0)[0]),
            count=torch.full_like(like, FIRST_SHARE * size),
            moved=torch.full_like(like, size),
        )

    def step(self, oracle: Gradients, state: Sparse, t: int) -> Sparse:
        radius, place, length = self._stage(t)
        if t and place == 0:
            state = self._narrowed(state, radius)
        answer = oracle.gradient(state.delta, render=Additive(state.x), loss=self.loss)
        better = answer.value > state.best_value
        state = replace(
            state,
            best=torch.where(rowwise(better, state.x), state.delta, state.best),
            best_grad=torch.where(rowwise(better, state.x), answer.grad, state.best_grad),
            best_value=torch.where(better, answer.value, state.best_value),
        )
        delta, grad = state.delta, answer.grad
        if (place + 1) % max(1, int(PERIOD * length)) == 0:
            state, back = self._checkpoint(state, radius)
            delta = torch.where(rowwise(back, delta), state.best, delta)
            grad = torch.where(rowwise(back, grad), state.best_grad, grad)
        moved = delta + _top(grad, state.count) * rowwise(state.step, grad)
        return replace(state, delta=self._held(moved, state.x, radius))

    def _held(self, delta: Tensor, x: Tensor, radius: float) -> Tensor:
        return self.ball.project(delta, x, torch.full_like(x[:, 0, 0, 0], radius))

    def _narrowed(self, state: Sparse, radius: float) -> Sparse:
        """Every row at its best point so far, projected onto the smaller ball, with its search begun anew."""
        delta = self._held(state.best, state.x, radius)
        moved = _spread(delta)
        return replace(
            state,
            delta=delta,
            best=delta,
            best_value=torch.full_like(moved, -torch.inf),
            step=torch.full_like(moved, radius),
            count=(moved / DENSER).clamp(min=1),
            moved=moved,
        )

    def _checkpoint(self, state: Sparse, radius: float) -> tuple[Sparse, Tensor]:
        """Who goes back to its best point, with the new sparsities and steps."""
        moved = _spread(state.best)
        fewer = moved < FEWER * state.moved
        step = torch.where(fewer, radius, (state.step / SHRINK).clamp(min=LEAST * radius))
        return replace(state, step=step, count=(moved / DENSER).clamp(min=1), moved=moved), fewer

    def finish(self, oracle: Gradients, state: Sparse) -> None:
        oracle.score(state.x + state.delta)


def _spread(delta: Tensor) -> Tensor:
    """(B,) how many components are not zero."""
    return (delta != 0).flatten(1).sum(1).to(delta.dtype)


def _top(grad: Tensor, count: Tensor) -> Tensor:
    """The signs of the `count` (B,) largest coordinates of each row, over their number."""
    size = grad.abs().flatten(1)
    rank = size.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    kept = (rank < count[:, None].ceil()) & (size > 0)
    return grad.sign() * kept.view_as(grad) / rowwise(kept.sum(1).clamp(min=1), grad)
