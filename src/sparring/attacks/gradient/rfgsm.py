"""Two different single-step attacks with a random start.

R+FGSM (Tramer et al. 2018, arXiv:1705.07204, equation 7) moves by the sign of Gaussian noise and spends the rest of eps
on the gradient; here alpha is a share of eps:

    x' = x + alpha eps * sign(N(0, I)),    x_adv = x' + (1 - alpha) eps * sign(grad L(x'))

Fast FGSM (Wong et al. 2020, arXiv:2001.03994, algorithm 3) starts uniformly in the ball, takes a longer step and
projects:

    x_adv = Proj ( x + U(-eps, eps) + 1.25 eps * sign(grad L) )
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...access import Attack, Batch, DecayFactor, Gradients, PositiveInt
from ...geometry import Ball, rowwise
from ...geometry.ball import Radius
from ...geometry.region import Region
from ...perturbations import Additive
from .fgsm import FGSMState
from .pgd import PGD


@dataclass(frozen=True)
class RFGSM(Attack[Gradients, FGSMState]):
    """Take a random step of length alpha * eps, then a gradient step of length (1 - alpha) * eps.

    Args:
        ball: Linf in the paper, with a finite eps; L2 and L1 work as well.
        alpha: the share of eps that is spent on noise, in [0, 1) (0.5 in the paper).
    """

    ball: Ball
    alpha: DecayFactor = 0.5

    spends_radius: ClassVar[bool] = True
    uses_region: ClassVar[bool] = True

    @property
    def steps(self) -> int:
        return 1

    def init(self, oracle: Gradients, batch: Batch) -> FGSMState:
        region = oracle.region
        step = region.steepest(oracle.key.signs("noise", region.x.shape[1:], dtype=region.x.dtype))
        return FGSMState(region.project(step * rowwise(self.alpha * region.eps, step)))

    def step(self, oracle: Gradients, state: FGSMState, t: int) -> FGSMState:
        region = oracle.region
        answer = oracle.gradient(state.delta, render=Additive(region.x))
        step = region.steepest(answer.grad, at=answer.images)
        return FGSMState(region.project(state.delta + step * rowwise((1 - self.alpha) * region.eps, step)))

    def finish(self, oracle: Gradients, state: FGSMState) -> None:
        oracle.score(oracle.region.x + state.delta)


@dataclass(frozen=True)
class FastFGSM(PGD):
    """Take one long gradient step from a point uniform in the ball.

    Args:
        ball: Linf in the paper, with a finite eps; L2 and L1 work as well.
        steps: 1 in the paper.
        step_size: in the ball's norm; None: 1.25 * eps, as in the paper.
        random_start: True in the paper.
    """

    steps: PositiveInt = 1

    def default_step_size(self, region: Region) -> Radius:
        return 1.25 * region.radius
