"""HopSkipJump (Chen, Jordan & Wainwright 2020, arXiv:1904.02144, algorithm 2).

From an image that is adversarial, each iteration searches the segment to the original for the boundary, estimates the
direction of the margin's gradient there from decisions alone,

    v_t = 1 / (B_t - 1) * sum_b (phi_b - mean phi) u_b,    phi_b = +-1: is x_t + delta_t u_b adversarial?

with B_t = B_0 sqrt(t) directions and delta_t = |x_t - x| / d, and steps |x_t - x| / sqrt(t) along it (along its sign in
Linf), halving the step until it succeeds.

Departures: directions are random signs rather than Gaussian or uniform, which in these dimensions estimate as well and
cost a tenth; the segment is halved at most 24 times, where float32 ends; every second start tried is coarse noise,
since fine noise is all one class to many nets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Batch, Decisions, PositiveInt
from ...geometry import L2, Ball, Linf, rowwise
from .decision_attack import DecisionAttack, DecisionState

HALVINGS = 24  # of a segment or a step
CHUNK = 1 << 16  # numbers per row in one set of directions: memory stays flat
FIRST_DELTA = 0.1  # delta_1, in units of the inputs' scale


@dataclass(frozen=True)
class HopSkipJump(DecisionAttack[Decisions, DecisionState]):
    """Find the smallest norm from labels alone, by estimates of the gradient's direction at the boundary.

    Args:
        ball: L2() or Linf(); a finite eps asks for examples within it.
        steps: iterations (50 in the authors' code).
        init_num_evals: B_0, queries of the first estimate (100 in the authors' code).
        max_num_evals: queries of one estimate at most (10,000 there).
        init_size: random images tried as a start, at most (100 there).
        starting_pool: images (M, C, H, W) tried first as starting points; a targeted goal needs adversarial ones.
    """

    ball: Ball = L2()
    steps: PositiveInt = 50
    init_num_evals: PositiveInt = 100
    max_num_evals: PositiveInt = 10_000
    init_size: PositiveInt = 100
    starting_pool: Tensor | None = field(default=None, repr=False, compare=False)

    norms: ClassVar[tuple[type[Ball], ...]] = (L2, Linf)
    alternative: ClassVar[str] = "FMN"

    def init(self, oracle: Decisions, batch: Batch) -> DecisionState:
        return DecisionState(*self.find_start(oracle, batch))

    def step(self, oracle: Decisions, state: DecisionState, t: int) -> DecisionState:
        region, boundary = oracle.region, _at_boundary(oracle, state.adversarial)
        distance = region.norm(boundary - region.x)
        first = torch.full_like(distance, FIRST_DELTA * region.inputs.scale)
        delta = first if t == 0 else distance / region.dimension
        count = min(int(self.init_num_evals * math.sqrt(t + 1)), self.max_num_evals)
        direction = _gradient_direction(oracle, boundary, delta, count, t)
        return replace(state, adversarial=_stepped(oracle, boundary, direction, distance / math.sqrt(t + 1)))

    def finish(self, oracle: Decisions, state: DecisionState) -> None:
        _at_boundary(oracle, state.adversarial)


def _at_boundary(oracle: Decisions, adversarial: Tensor) -> Tensor:
    """The adversarial end (B, ...) of a bisection to a relative width of d^(-3/2) in L2, d^-2 in Linf."""
    region, power = oracle.region, 2.0 if math.isinf(oracle.region.ball.p) else 1.5
    way, low = adversarial - region.x, torch.zeros_like(region.eps)
    high = torch.ones_like(low)
    for _ in range(min(math.ceil(power * math.log2(way[0].numel())), HALVINGS)):
        middle = (low + high) / 2
        success = oracle.decide(region.x + region.shrink(way, middle))
        low, high = torch.where(success, low, middle), torch.where(success, middle, high)
    return region.clamp_(region.x + region.shrink(way, high))


def _gradient_direction(oracle: Decisions, boundary: Tensor, delta: Tensor, count: int, t: int) -> Tensor:
    """The estimate v_t (B, ...) at the boundary, in the geometry of the norm."""
    region, shape, (b, d) = oracle.region, boundary.shape[1:], boundary.flatten(1).shape
    size = max(4, CHUNK // d)
    sum_phi_u, sum_u = torch.zeros_like(boundary), torch.zeros_like(boundary)
    sum_phi = torch.zeros_like(delta)
    for start in range(0, count, size):
        n = min(size, count - start)
        signs = oracle.key.signs("directions", (n, *shape), t * 1_000_003 + start, boundary.dtype)
        moved = torch.addcmul(boundary[:, None], signs, rowwise(delta / region.dimension.sqrt(), signs))
        moved = region.clamp_many_(moved)
        rows = torch.arange(b, device=boundary.device).repeat_interleave(n)
        phi = oracle.decide(moved.flatten(0, 1), rows=rows).view(b, n).to(boundary.dtype) * 2 - 1
        moved -= boundary[:, None]
        sum_u += moved.sum(1)
        sum_phi_u += moved.mul_(phi.view(b, n, *[1] * len(shape))).sum(1)
        sum_phi += phi.sum(1)
    mean = rowwise(sum_phi / count, boundary)
    return region.steepest(torch.where(mean.abs() == 1, mean * sum_u, sum_phi_u - mean * sum_u))


def _stepped(oracle: Decisions, boundary: Tensor, direction: Tensor, length: Tensor) -> Tensor:
    """The images (B, ...) after a step, halved until it succeeds; where none does, those at the boundary."""
    adversarial, waiting = boundary.clone(), torch.ones_like(length, dtype=torch.bool)
    for _ in range(HALVINGS):
        rows = (waiting & oracle.open()).nonzero().squeeze(1)
        if len(rows) == 0:
            break
        trial = oracle.region.clamp_(boundary + direction * rowwise(length, boundary))[rows]
        success = oracle.decide(trial, rows=rows)
        adversarial[rows[success]] = trial[success]
        waiting[rows[success]] = False
        length = length / 2
    return adversarial
