"""Universal perturbation (Moosavi-Dezfooli et al. 2017, arXiv:1610.08401, algorithm 1).

    for x in X with x + v not yet fooled:   dv = argmin |r|_2  s.t.  x + v + r is fooled     (by DeepFool)
                                            v  <- Proj_ball ( v + dv )

until a share of 1 - delta of X is fooled. Departures: dv is found for all images of a batch that v does not fool, at
once, and v moves by `step_scale` times their mean (batch_size=1, step_scale=1 is the paper's own loop); images are
clipped to the valid range.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ...access import Jacobians, NonNegativeFloat, PositiveFloat, PositiveFraction, PositiveInt, Shared, SharedBatch
from ...geometry import L2, Ball, Linf
from ..minimal import DeepFool
from .perturbation import Perturbation, initial_delta, project_delta


@dataclass(frozen=True)
class UniversalState:
    """The perturbation so far: delta (C, H, W)."""

    delta: Tensor


@dataclass(frozen=True)
class Universal(Shared[Jacobians, UniversalState, Perturbation]):
    """Make one perturbation for all images from those that DeepFool finds for single ones.

    Args:
        ball: Linf or L2 with a finite eps (10/255 and 2000/255 in the paper).
        epochs: passes over the images at most (10 in the authors' code).
        batch_size: images per step.
        step_scale: how far v moves, in units of the mean perturbation of the batch.
        target_fooling_rate: the fooling rate of an epoch that ends the search, in (0, 1] (0.8 in the paper).
        steps: DeepFool's (10 in the authors' code).
        candidates: DeepFool's number of classes (10 in the authors' code).
        overshoot: DeepFool's (0.02 in the authors' code).
    """

    ball: Ball
    epochs: PositiveInt = 10
    batch_size: PositiveInt = 32
    step_scale: PositiveFloat = 8.0
    target_fooling_rate: PositiveFraction = 0.8
    steps: PositiveInt = 10
    candidates: PositiveInt = 10
    overshoot: NonNegativeFloat = 0.02

    norms: ClassVar[tuple[type[Ball], ...]] = (Linf, L2)
    uses_region: ClassVar[bool] = True

    def init(self, like: Tensor, seed: int, start: Perturbation | None) -> UniversalState:
        return UniversalState(initial_delta(like, start, self.ball))

    def step(self, oracle: Jacobians, state: UniversalState, batch: SharedBatch, progress: float) -> UniversalState:
        perturbed = oracle.region.nearest_(batch.x + state.delta)
        standing = (oracle.score(perturbed).margin <= 0).nonzero().squeeze(1)
        if len(standing) == 0:
            return state
        start = perturbed[standing]
        deepfool = DeepFool(steps=self.steps, candidates=self.candidates, overshoot=self.overshoot)
        reached, success = batch.attacked(deepfool, start, standing)
        found = (reached - start)[success]
        if len(found) == 0:
            return state
        return UniversalState(project_delta(state.delta + self.step_scale * found.mean(0), self.ball))

    def artifact(self, state: UniversalState) -> Perturbation:
        return Perturbation(state.delta, self.ball)

    def done(self, state: UniversalState, fooled: float) -> bool:
        return fooled >= self.target_fooling_rate
