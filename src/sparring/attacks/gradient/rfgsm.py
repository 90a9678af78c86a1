"""Two single-step attacks with a random start, which are not the same.

R+FGSM (Tramer et al. 2018, arXiv:1705.07204, equation 7) first moves by the sign of Gaussian noise, and spends
on the gradient what is left of eps:

    x' = x + start * sign(N(0, I)),    x_adv = x' + (eps - start) * sign(grad L(x'))

Fast FGSM (Wong et al. 2020, arXiv:2001.03994, algorithm 3) starts uniformly in the ball, takes a longer step and
projects:

    x_adv = Proj ( x + U(-eps, eps) + 1.25 eps * sign(grad L) )
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...access import Attack, Batch, Gradients
from ...errors import ConfigError
from ...geometry import Ball, rowwise
from ...geometry.ball import Radius
from ...geometry.region import Region
from ...perturbations import Additive
from .fgsm import Move
from .pgd import PGD


@dataclass(frozen=True)
class RFGSM(Attack[Gradients, Move]):
    """R+FGSM. `start` is the share of eps spent on noise (0.5 in the paper)."""

    ball: Ball
    start: float = 0.5

    spends_radius: ClassVar[bool] = True
    regional: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.start < 1:
            raise ConfigError(f"RFGSM start={self.start}; pass a share in [0, 1)")

    @property
    def steps(self) -> int:
        return 1

    def init(self, oracle: Gradients, batch: Batch) -> Move:
        region = oracle.region
        step = region.steepest(oracle.key.signs("noise", region.x.shape[1:], dtype=region.x.dtype))
        return Move(region.project(step * rowwise(self.start * region.eps, step)))

    def step(self, oracle: Gradients, state: Move, t: int) -> Move:
        region = oracle.region
        answer = oracle.gradient(state.delta, render=Additive(region.x))
        step = region.steepest(answer.grad, at=answer.images)
        return Move(region.project(state.delta + step * rowwise((1 - self.start) * region.eps, step)))

    def finish(self, oracle: Gradients, state: Move) -> None:
        oracle.score(oracle.region.x + state.delta)


@dataclass(frozen=True)
class FastFGSM(PGD):
    """One long step from a uniform start. `step_size` None: 1.25 * eps, as in the paper."""

    steps: int = 1

    def rate(self, region: Region) -> Radius:
        return 1.25 * region.radius if self.step_size is None else self.step_size
