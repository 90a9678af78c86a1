"""Box-constrained L-BFGS (Szegedy et al. 2013, arXiv:1312.6199, section 4.1).

    minimise  c |r|_2^2 + loss(x + r)   subject to  x + r in [0, 1]^n

with the largest c whose minimiser is still an example. The loss is the goal's own, negated; in the paper the
cross-entropy, which is flat where a model is very sure of itself.

The minimiser is a projected quasi-Newton method (`quasi_newton`): the step is halved, projected, until the objective
falls enough (Armijo). One question is one trial of the line search; each row has its own history, line search and
search over c.

Departures: L-BFGS-B's Cauchy point is left out. c falls tenfold until the first success, then rises fourfold until a
failure, and is bisected in its logarithm; it starts where the linearised loss leads to the linearised boundary. Rounds
start at the last minimiser's side of the boundary: away from a label the cross-entropy has a flat place at the image
and another minimum far across, which only a row that comes from there finds at a large c.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Batch, Gradients, NonNegativeFloat, PositiveFloat, PositiveInt, margin_objective
from ...geometry import L2, Ball, rowwise, tiny
from ...geometry.region import Region
from ...goals import Climb
from ..minimum_norm import MinimumNormAttack
from .constant_search import LARGEST, SMALLEST
from .quasi_newton import Evaluation, History, is_curved, quasi_newton_direction
from .weight_search import WeightSearch

ARMIJO, SHORTEST = 1e-4, 1e-6  # decrease that is enough, in shares of the slope; L2 length of the last trial


@dataclass(frozen=True)
class LBFGSState:
    """Each row's minimisation and its search over c."""

    start: Evaluation  # of each round: the original, or the last one that succeeded
    current: Evaluation
    direction: Tensor  # (B, ...)
    step_size: Tensor  # (B,) of the next trial, in units of the direction
    history: History
    search: WeightSearch


@dataclass(frozen=True)
class LBFGS(MinimumNormAttack[Gradients, LBFGSState]):
    """Find the smallest L2 norm by a penalised loss.

    Args:
        ball: L2; a finite eps asks for examples within it.
        binary_search_steps: the number of constants tried per row at most.
        steps: trials per constant at most.
        history_size: the number of pairs that the Hessian is approximated from (10 in L-BFGS-B).
        initial_const: the first weight of |r|_2^2; None: per row.
        precision: a round ends where a step lowers the objective by less than this share of it.
        tolerance: a row is done when c is known to this factor, less one; 0: all rounds.
        warm_start: whether a round begins at the last point that succeeded; False: at the image.
        loss: the loss that is weighed against |r|_2^2; None: the goal's own.
    """

    ball: Ball = L2()
    binary_search_steps: PositiveInt = 20
    steps: PositiveInt = 100
    history_size: PositiveInt = 10
    initial_const: PositiveFloat | None = None
    precision: NonNegativeFloat = 1e-3
    tolerance: NonNegativeFloat = 0.01
    warm_start: bool = True
    loss: Climb | None = None

    norms: ClassVar[tuple[type[Ball], ...]] = (L2,)
    alternative: ClassVar[str] = "FMN"

    @property
    def total_steps(self) -> int:
        return self.binary_search_steps * self.steps

    def init(self, oracle: Gradients, batch: Batch) -> LBFGSState:
        region, x = oracle.region, oracle.region.x
        answer = oracle.gradient(x, loss=self.loss)
        start = Evaluation(x, answer.value, region.masked(answer.grad))
        const = self.initial_const
        weight = torch.full_like(region.eps, 1 / const) if const else self._linear_weight(oracle, start)
        none = x.new_zeros(len(x), self.history_size, x[0].numel())
        state = LBFGSState(start, start, x, weight, History(none, none), WeightSearch.start(weight))
        direction = _direction(region, state)
        return replace(state, direction=direction, step_size=_whole_step(region, direction))

    def _linear_weight(self, oracle: Gradients, start: Evaluation) -> Tensor:
        """2 R / |grad loss|_2: the minimiser of |r|^2 - weight * loss, linearised, has the boundary's distance R."""
        answer = oracle.gradient(start.image, objective=margin_objective)
        grad = oracle.region.masked(answer.grad)
        margin_slope, loss_slope = (g.flatten(1).norm(dim=1).clamp_min(tiny(g)) for g in (grad, start.grad))
        weight: Tensor = 2 * answer.value.abs() / margin_slope / loss_slope
        return weight.clamp(SMALLEST, LARGEST)

    def step(self, oracle: Gradients, state: LBFGSState, t: int) -> LBFGSState:
        region, current, weight = oracle.region, state.current, state.search.weight
        image = region.clamp_(current.image + state.direction * rowwise(state.step_size, region.x))
        answer = oracle.gradient(image, loss=self.loss)
        trial, s = Evaluation(image, answer.value, region.masked(answer.grad)), (image - current.image).flatten(1)
        before, grad_before = current.objective(region.x, weight)
        after, grad_after = trial.objective(region.x, weight)
        expected = (grad_before.flatten(1) * s).sum(1)
        accepted = after <= before + ARMIJO * expected
        y = (grad_after - grad_before).flatten(1)
        parabola = state.step_size * (-expected / 2 / (after - before - expected).clamp_min(tiny(image)))
        shorter = torch.minimum(torch.maximum(parabola.nan_to_num(0), state.step_size / 10), state.step_size / 2)
        found = accepted & (answer.verdict.margin > 0)
        converged = accepted & (before - after <= self.precision * torch.maximum(before.abs(), after.abs()))
        length = shorter * state.direction.flatten(1).norm(dim=1)
        search, over = state.search.after_step(found, converged | (~accepted & (length < SHORTEST)), self.steps)
        start = trial.where(found & self.warm_start, state.start)
        history = state.history.pushed(accepted & is_curved(s, y), s, y).forgotten(over)
        current = start.where(over, trial.where(accepted, current))
        state = replace(state, start=start, current=current, history=history, search=search)
        restarted = accepted | over
        direction = torch.where(rowwise(restarted, image), _direction(region, state), state.direction)
        step_size = torch.where(restarted, _whole_step(region, direction), shorter)
        return replace(state, direction=direction, step_size=step_size)

    def done(self, state: LBFGSState) -> Tensor:
        return state.search.is_over(self.binary_search_steps, self.tolerance)


def _direction(region: Region, state: LBFGSState) -> Tensor:
    """The next direction (B, ...) of each row."""
    grad = state.current.objective(region.x, state.search.weight)[1]
    return quasi_newton_direction(region, state.current.image, grad, state.history)


def _whole_step(region: Region, direction: Tensor) -> Tensor:
    """(B,) the whole step, or what of it crosses the range once."""
    length: Tensor = direction.flatten(1).norm(dim=1)
    return (region.extent / length.clamp_min(tiny(direction))).clamp(max=1)
