"""Fast adaptive boundary attack (Croce & Hein 2020, arXiv:1907.02044, algorithm 1).

    pi      = { z : f(x_i) + <grad f(x_i), z - x_i> = 0 }            the linearised boundary
    d_i     = proj_pi(y_i) - y_i,  d_orig = proj_pi(x) - x           in the attack's norm, within the valid range
    alpha   = min( |d_i| / (|d_i| + |d_orig|), alpha_max )
    x_{i+1} = (1 - alpha) (y_i + eta d_i) + alpha (x + eta d_orig)

where y_i is x_i, or (1 - beta) x + beta x_i once x_i is across. In the end a search between x and the best point.

Departures: the plane is taken at x_i also where x_i is across, not at y_i: one gradient pass a step instead of that
and a forward pass. The search is Newton's and then the secant's. A random start lies as far as half the linear
distance to the boundary (the authors: half of eps), which is known in every norm and on every data set.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from ...access import Attack, Batch, Decisions, Gradients, Jacobians, Keep, margin_objective
from ...errors import ConfigError
from ...geometry import L1, L2, Ball, Linf, rowwise, tiny
from ...geometry.region import Region

A = TypeVar("A", bound=Gradients, contravariant=True)
SEARCHES = 3  # passes of the final search
SHORT = 0.9  # of the way to the boundary that it expects, so that half of them do not end before it


@dataclass(frozen=True)
class Plane:
    """f and its gradient at an image, and the margin that says who has won."""

    value: Tensor
    slope: Tensor
    margin: Tensor


@dataclass(frozen=True)
class Stand:
    """The image to ask about next, and the nearest one that has won."""

    image: Tensor
    best: Tensor
    size: Tensor  # of best; infinite before the first
    margin: Tensor  # of best
    fall: Tensor  # of f on the whole way from best back to x, linearised


class AdaptiveBoundary(Attack[A, Stand]):
    """What FAB and FAB-T share: the walk. They differ in whose boundary it is."""

    steps: int
    alpha_max: float
    eta: float
    beta: float
    random_start: bool

    norms: ClassVar[tuple[type[Ball], ...]] = (Linf, L2, L1)
    elsewhere: ClassVar[str] = "FMN"
    regional: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1 or not 0 <= self.alpha_max <= 1 or not self.eta >= 1 or not 0 < self.beta <= 1:
            raise ConfigError(
                f"{self.name} steps={self.steps}, alpha_max={self.alpha_max}, eta={self.eta}, beta={self.beta}; "
                "pass steps >= 1, alpha_max in [0, 1], eta >= 1 and beta in (0, 1]"
            )

    @property
    def state(self) -> Any:
        return Stand

    @property
    def keep(self) -> Keep:
        return Keep.SMALLEST

    @abstractmethod
    def plane(self, oracle: A, image: Tensor) -> Plane:
        """The linearised boundary at `image`."""

    def init(self, oracle: A, batch: Batch) -> Stand:
        x, zero = oracle.region.x, torch.zeros_like(oracle.region.eps)
        return Stand(self._start(oracle) if self.random_start else x, x, zero + torch.inf, zero, zero)

    def _start(self, oracle: A) -> Tensor:
        """In a random direction, half as far as the boundary seems to be."""
        region = oracle.region
        plane = self.plane(oracle, region.x)
        distance = plane.value.abs() / region.dual_norm(plane.slope).clamp_min(tiny(region.x))
        length = torch.minimum(distance / 2, region.eps)
        return region.clamp_(region.x + region.direction(oracle.key, "start") * rowwise(length, region.x))

    def step(self, oracle: A, state: Stand, t: int) -> Stand:
        region, image, plane = oracle.region, state.image, self.plane(oracle, state.image)
        x, across, value, slope = region.x, plane.margin > 0, plane.value, region.masked(plane.slope)
        state = self._kept(region, state, plane.margin, _along(slope, image - x))
        stand = torch.where(rowwise(across, x), x + self.beta * (image - x), image)
        near = region.onto_hyperplane(slope, _along(slope, image - stand) - value, at=stand)
        far = region.onto_hyperplane(slope, _along(slope, image - x) - value)
        length = region.norm(near)
        alpha = (length / (length + region.norm(far)).clamp_min(tiny(x))).clamp_(max=self.alpha_max)
        ahead = (stand + self.eta * near).lerp(x + self.eta * far, rowwise(alpha, x))
        return replace(state, image=region.clamp_(ahead))

    def _kept(self, region: Region, state: Stand, margin: Tensor, fall: Tensor) -> Stand:
        """The state, with its image in the place of the best one where that is farther."""
        size = region.norm(state.image - region.x)
        better = (margin > 0) & (size < state.size)
        return replace(
            state,
            best=torch.where(rowwise(better, region.x), state.image, state.best),
            size=torch.where(better, size, state.size),
            margin=torch.where(better, margin, state.margin),
            fall=torch.where(better, fall, state.fall),
        )

    def finish(self, oracle: A, state: Stand) -> None:
        """Ask about the last image, then search the segment from x (0) to the best one (1)."""
        region = oracle.region
        state = self._kept(region, state, oracle.score(state.image).margin, state.fall)
        rows = state.size.isfinite().nonzero().squeeze(1)
        x, way = region.x[rows], (state.best - region.x)[rows]
        high, fall = state.margin[rows], state.fall[rows].clamp_min(tiny(x))
        far, near, low = torch.ones_like(high), torch.zeros_like(high), torch.full_like(high, -torch.inf)
        for _ in range(SEARCHES):
            slope = torch.where(low.isfinite(), (high - low) / (far - near), fall)
            at = torch.maximum(far - SHORT * high / slope, (near + far) / 2)
            margin = oracle.score(x + rowwise(at, x) * way, rows).margin
            won = margin > 0
            far, high = torch.where(won, at, far), torch.where(won, margin, high)
            near, low = torch.where(won, near, at), torch.where(won, low, margin)


@dataclass(frozen=True)
class FAB(AdaptiveBoundary[Jacobians]):
    """Minimum norm by walking along the nearest of the linearised boundaries.

    Args:
        ball: Linf, L2 or L1; a finite eps asks for examples within it.
        steps: of the walk (100 in the paper).
        classes: how many of the nearest classes are looked at, the label included (all in the paper).
        alpha_max, eta, beta: 0.1, 1.05 and 0.9 in the paper.
        random_start: begin away from the image: for `Restarts`.
    """

    ball: Ball
    steps: int = 100
    classes: int = 10
    alpha_max: float = 0.1
    eta: float = 1.05
    beta: float = 0.9
    random_start: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.classes < 2:
            raise ConfigError(f"FAB classes={self.classes}; pass at least 2, the label included")

    @property
    def access(self) -> type[Decisions]:
        return Jacobians

    def plane(self, oracle: Jacobians, image: Tensor) -> Plane:
        answer = oracle.jacobian(image, self.classes - 1)
        lengths = oracle.region.dual_norm_many(answer.grads)
        nearest = (answer.margins.abs() / lengths.clamp_min(tiny(image))).argmin(dim=1)
        rows = torch.arange(len(image), device=image.device)
        value = answer.margins[rows, nearest].nan_to_num(neginf=0.0)  # -inf: no answer
        return Plane(value, answer.grads[rows, nearest], answer.verdict.margin)


@dataclass(frozen=True)
class FABT(AdaptiveBoundary[Gradients]):
    """FAB along one boundary: the margin's, or with `steered` the one that `Rivals` names.

    FAB-T of the paper's section 4 and of AutoAttack is `Rivals(FABT(ball, steered=True), 9, loss=RivalMargin)`.
    Arguments as of FAB.
    """

    ball: Ball
    steps: int = 100
    alpha_max: float = 0.1
    eta: float = 1.05
    beta: float = 0.9
    random_start: bool = False
    steered: bool = False

    @property
    def access(self) -> type[Decisions]:
        return Gradients

    @property
    def name(self) -> str:
        return "FAB" if self.steered else super().name  # `Rivals` adds its -T

    def plane(self, oracle: Gradients, image: Tensor) -> Plane:
        answer = oracle.gradient(image, objective=None if self.steered else margin_objective)
        return Plane(answer.value, answer.grad, answer.verdict.margin)


def _along(slope: Tensor, delta: Tensor) -> Tensor:
    """(B,) how much a linear function of this slope grows."""
    return (slope * delta).flatten(1).sum(1)
