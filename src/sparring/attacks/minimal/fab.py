"""Fast adaptive boundary attack (Croce & Hein 2020, arXiv:1907.02044), FAB and FAB-T; see `adaptive_boundary`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from torch import Tensor

from ...access import (
    Bounds,
    Decisions,
    Gradients,
    Jacobians,
    PositiveFraction,
    PositiveInt,
    Probability,
    margin_objective,
)
from ...geometry import Ball
from .adaptive_boundary import AdaptiveBoundary
from .linear_boundary import LinearBoundary, nearest_boundary


@dataclass(frozen=True)
class FAB(AdaptiveBoundary[Jacobians]):
    """Find the smallest norm by steps along the nearest of the linearised boundaries.

    Args:
        ball: Linf, L2 or L1; a finite eps asks for examples within it.
        steps: gradient steps (100 in the paper).
        n_target_classes: the number of nearest classes other than the label that are considered (all in the paper).
        alpha_max: the largest weight of the step that starts at the input (0.1 in the paper).
        eta: the extrapolation beyond the boundary (1.05 in the paper).
        beta: the share of the perturbation that is kept after a success (0.9 in the paper).
        random_start: whether to begin away from the input: for `Restarts`.
    """

    ball: Ball
    steps: PositiveInt = 100
    n_target_classes: PositiveInt = 9
    alpha_max: Probability = 0.1
    eta: Annotated[float, Bounds(ge=1)] = 1.05
    beta: PositiveFraction = 0.9
    random_start: bool = False

    @property
    def access(self) -> type[Decisions]:
        return Jacobians

    def boundary(self, oracle: Jacobians, image: Tensor) -> LinearBoundary:
        """Return the nearest linearised boundary at `image` (B, ...)."""
        nearest, _ = nearest_boundary(oracle.region, oracle.jacobian(image, self.n_target_classes))
        return replace(nearest, value=nearest.value.nan_to_num(neginf=0.0))  # -inf: no answer


@dataclass(frozen=True)
class FABT(AdaptiveBoundary[Gradients]):
    """Find the smallest norm by steps along one linearised boundary: FAB-T with `Rivals`.

    FAB-T of the paper's section 4 and of AutoAttack is `Rivals(FABT(ball, linearize_loss=True), 9, RivalMargin)`.

    Args:
        ball: Linf, L2 or L1; a finite eps asks for examples within it.
        steps: gradient steps (100 in the paper).
        alpha_max: the largest weight of the step that starts at the input (0.1 in the paper).
        eta: the extrapolation beyond the boundary (1.05 in the paper).
        beta: the share of the perturbation that is kept after a success (0.9 in the paper).
        random_start: whether to begin away from the input: for `Restarts`.
        linearize_loss: linearise the loss that the oracle names, as `Rivals` has it do, in place of the margin.
    """

    ball: Ball
    steps: PositiveInt = 100
    alpha_max: Probability = 0.1
    eta: Annotated[float, Bounds(ge=1)] = 1.05
    beta: PositiveFraction = 0.9
    random_start: bool = False
    linearize_loss: bool = False

    @property
    def access(self) -> type[Decisions]:
        return Gradients

    @property
    def name(self) -> str:
        return "FAB" if self.linearize_loss else super().name  # `Rivals` adds its -T

    def boundary(self, oracle: Gradients, image: Tensor) -> LinearBoundary:
        """Return the linearised boundary of the margin, or of the oracle's loss, at `image` (B, ...)."""
        answer = oracle.gradient(image, objective=None if self.linearize_loss else margin_objective)
        return LinearBoundary(answer.value, answer.grad, answer.verdict.margin)
