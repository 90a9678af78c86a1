"""Decoupled direction and norm (Rony et al. 2019, arXiv:1811.09600, algorithm 1).

    g_t     = step_size_t * grad L / |grad L|_2
    delta   = delta + g_t                          the direction
    eps_t   = (1 - gamma) eps if the row succeeds, else (1 + gamma) eps     the norm
    delta   = eps_t * delta / |delta|_2, kept in the valid range

with a cosine schedule of the step size from 1 to 0.01. L is the cross-entropy in the paper, and the goal's own loss
here, which does not vanish where the model is confident (a distilled net) and looks at the nearest classes where its
logits are flat. Quantising to 256 levels is part of the paper's attack and an option here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from ...access import Batch, Bounds, Gradients, OpenFraction, PositiveFloat, PositiveInt
from ...errors import InputError
from ...geometry import L2, Ball, rowwise, unit
from ...geometry.region import Region
from ...goals import Climb
from ...inputs import Images
from ...perturbations import Additive
from ..minimum_norm import MinimumNormAttack
from .annealing import cosine_decay

FINAL_STEP_SIZE = 0.01  # of the first one, at the last step


@dataclass(frozen=True)
class DDNState:
    """Each row's perturbation, and the norm that it is held to."""

    delta: Tensor  # (B, ...)
    epsilon: Tensor  # (B,)


@dataclass(frozen=True)
class DDN(MinimumNormAttack[Gradients, DDNState]):
    """Find the smallest L2 norm at a fixed number of passes.

    Args:
        ball: L2; with a finite eps only examples within it count.
        steps: gradient steps (100, 300 or 1000 in the paper).
        init_epsilon: the first norm, in units of the inputs' scale (1 in the paper).
        gamma: the relative change of the norm per step (0.05 in the paper).
        levels: quantise to this many levels per pixel (256 in the paper); None: do not.
        loss: the loss to ascend; None: the goal's own.
    """

    ball: Ball = L2()
    steps: PositiveInt = 300
    init_epsilon: PositiveFloat = 1.0
    gamma: OpenFraction = 0.05
    levels: Annotated[int, Bounds(ge=2)] | None = None
    loss: Climb | None = None

    norms: ClassVar[tuple[type[Ball], ...]] = (L2,)
    alternative: ClassVar[str] = "FMN"

    def check(self, region: Region) -> None:
        """Raise as every attack does, and InputError for `levels` where inputs have no pixels."""
        super().check(region)
        if self.levels is not None and not isinstance(region.inputs, Images):
            raise InputError(f"DDN levels={self.levels} quantises pixels; leave it out for {region.inputs.plural}")

    def init(self, oracle: Gradients, batch: Batch) -> DDNState:
        region = oracle.region
        epsilon = torch.full_like(region.eps, self.init_epsilon * region.inputs.scale)
        return DDNState(torch.zeros_like(region.x), epsilon)

    def step(self, oracle: Gradients, state: DDNState, t: int) -> DDNState:
        region = oracle.region
        answer = oracle.gradient(state.delta, render=Additive(region.x), loss=self.loss)
        step_size = FINAL_STEP_SIZE + (1 - FINAL_STEP_SIZE) * cosine_decay(t, self.steps)
        delta = state.delta.add(unit(region.masked(answer.grad)), alpha=step_size * region.inputs.scale)
        found = answer.verdict.margin > 0
        epsilon = state.epsilon * torch.where(found, 1 - self.gamma, 1 + self.gamma)
        epsilon = torch.minimum(epsilon, region.diameter)
        return DDNState(self._valid(region, unit(delta) * rowwise(epsilon, delta)), epsilon)

    def _valid(self, region: Region, delta: Tensor) -> Tensor:
        """Return the perturbation (B, ...) clipped to the valid range, and quantised to `levels`."""
        image = region.clamp_(delta.add_(region.x))
        if self.levels is not None:
            image = region.clamp_(image.mul_(self.levels - 1).round_().div_(self.levels - 1))
        return image.sub_(region.x)

    def finish(self, oracle: Gradients, state: DDNState) -> None:
        oracle.score(oracle.region.x + state.delta)
