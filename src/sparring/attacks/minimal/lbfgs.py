"""Box-constrained L-BFGS (Szegedy et al. 2013, arXiv:1312.6199, section 4.1).

    minimise  c |r|_2^2 + loss(x + r)   subject to  x + r in [0, 1]^n

with the largest c whose minimiser is still an example. The loss is the cross-entropy towards the target, or with its
sign turned, away from the label.

The minimiser is a projected quasi-Newton method: a component at the edge of the range that would leave it is fixed,
the two-loop recursion runs over the free ones, and the step is halved, projected, until the objective falls enough
(Armijo). One question is one trial of the line search; each row has its own history, line search and search over c.

Departures: L-BFGS-B's Cauchy point is left out. c falls tenfold until the first success, then rises fourfold until a
failure, and is bisected in its logarithm; it starts where the linearised loss leads to the linearised boundary. Rounds
start at the last minimiser's side of the boundary: away from a label the cross-entropy has a flat place at the image
and another minimum far across, which only a row that comes from there finds at a large c.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Attack, Batch, Gradients, Keep, margin_objective
from ...errors import ConfigError
from ...geometry import L2, Ball, rowwise, tiny
from ...geometry.region import Region
from ...goals import Climb, CrossEntropy

ARMIJO, SHORTEST = 1e-4, 1e-6  # decrease that is enough, in shares of the slope; L2 length of the last trial
GROWTH, FALL = 10.0, 4.0  # of the weight until the first success, and from there to the first failure


@dataclass(frozen=True)
class Point:
    """Where a row stands, and the loss there; the objective follows for any c."""

    image: Tensor
    loss: Tensor
    grad: Tensor  # of the loss


@dataclass(frozen=True)
class Bracket:
    """A row's search over the weight 1 / c of the loss."""

    weight: Tensor
    low: Tensor  # largest that failed
    high: Tensor  # smallest that succeeded
    round: Tensor
    inner: Tensor  # questions asked in this round
    hit: Tensor  # has this round been across?

    def after(self, over: Tensor) -> Bracket:
        high = torch.where(over & self.hit, torch.minimum(self.high, self.weight), self.high)
        failed = over & ~self.hit & high.isfinite()  # before the first success it says nothing: there are two minima
        low = torch.where(failed, torch.maximum(self.low, self.weight), self.low)
        outside = torch.where(self.hit, self.weight / FALL, self.weight * GROWTH)
        weight = torch.where((low > 0) & high.isfinite(), (low * high).sqrt(), outside)
        weight = torch.where(over, weight, self.weight)
        return Bracket(weight, low, high, self.round + over, self.inner * ~over, self.hit & ~over)


@dataclass(frozen=True)
class QuasiNewton:
    """One row's minimisation and its search over c."""

    start: Point  # of each round: the original, or the last point across
    point: Point
    direction: Tensor
    stretch: Tensor  # step length of the next trial
    moves: Tensor  # (B, memory, n) s_i, newest first
    bends: Tensor  # (B, memory, n) y_i
    bracket: Bracket


@dataclass(frozen=True)
class LBFGS(Attack[Gradients, QuasiNewton]):
    """Minimum L2 norm by a penalised loss.

    Args:
        rounds: values of c tried per row at most.
        inner: trials per round at most.
        memory: pairs that the Hessian is approximated from (10 in L-BFGS-B).
        c: the first weight of |r|_2^2; None: per row.
        precision: a round ends where a step lowers the objective by less than this share of it.
        tolerance: a row is done when c is known to this factor, less one; 0: all rounds.
        warm_start: begin each round at the last point that was across; False: at the image.
        ball: L2; a finite eps asks for examples within it.
        loss: what is weighed against |r|_2^2; None: the goal's own.
    """

    rounds: int = 20
    inner: int = 100
    memory: int = 10
    c: float | None = None
    precision: float = 1e-3
    tolerance: float = 0.01
    warm_start: bool = True
    ball: Ball = L2()
    loss: Climb | None = field(default_factory=CrossEntropy)

    norms: ClassVar[tuple[type[Ball], ...]] = (L2,)
    elsewhere: ClassVar[str] = "FMN"
    regional: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rounds < 1 or self.inner < 1 or self.memory < 1:
            raise ConfigError(
                f"LBFGS rounds={self.rounds}, inner={self.inner}, memory={self.memory}; pass numbers >= 1"
            )
        if not (self.precision >= 0 and self.tolerance >= 0 and (self.c is None or self.c > 0)):
            raise ConfigError(
                f"LBFGS c={self.c}, precision={self.precision}, tolerance={self.tolerance}; pass c > 0, the others >= 0"
            )

    @property
    def keep(self) -> Keep:
        return Keep.SMALLEST

    @property
    def total_steps(self) -> int:
        return self.rounds * self.inner

    def init(self, oracle: Gradients, batch: Batch) -> QuasiNewton:
        region, x = oracle.region, oracle.region.x
        zero, none = torch.zeros_like(region.eps), torch.zeros_like(oracle.key.indices)
        answer = oracle.gradient(x, loss=self.loss)
        start = Point(x, answer.value, region.masked(answer.grad))
        weight = self._linear_weight(oracle, start) if self.c is None else zero + 1 / self.c
        bracket = Bracket(weight, zero, zero + torch.inf, none, none, none > 0)
        history = x.new_zeros(len(x), self.memory, x[0].numel())
        state = QuasiNewton(start, start, x, zero, history, history, bracket)
        direction = _direction(region, state)
        return replace(state, direction=direction, stretch=_whole(region, direction))

    def _linear_weight(self, oracle: Gradients, start: Point) -> Tensor:
        """2 R / |grad loss|_2: the minimiser of |r|^2 - weight * loss, linearised, has the boundary's distance R."""
        answer = oracle.gradient(start.image, objective=margin_objective)
        grad = oracle.region.masked(answer.grad)
        slope, rise = (g.flatten(1).norm(dim=1).clamp_min(tiny(g)) for g in (grad, start.grad))
        weight: Tensor = 2 * answer.value.abs() / slope / rise
        return weight.clamp(1e-6, 1e10)

    def step(self, oracle: Gradients, state: QuasiNewton, t: int) -> QuasiNewton:
        region, point, weight = oracle.region, state.point, state.bracket.weight
        image = region.clamp_(point.image + state.direction * rowwise(state.stretch, region.x))
        answer = oracle.gradient(image, loss=self.loss)
        trial, moved = Point(image, answer.value, region.masked(answer.grad)), (image - point.image).flatten(1)
        before, slope = _objective(point, region.x, weight)
        after, ahead = _objective(trial, region.x, weight)
        expected = (slope.flatten(1) * moved).sum(1)
        accepted = after <= before + ARMIJO * expected
        bend = (ahead - slope).flatten(1)
        curved = accepted & ((moved * bend).sum(1) > 1e-10 * bend.square().sum(1))
        bent = state.stretch * (-expected / 2 / (after - before - expected).clamp_min(tiny(image)))
        shorter = torch.minimum(torch.maximum(bent.nan_to_num(0), state.stretch / 10), state.stretch / 2)
        hit = state.bracket.hit | (accepted & (answer.verdict.margin > 0))
        inner = state.bracket.inner + 1
        crossed = accepted & (answer.verdict.margin > 0)
        start = _chosen(crossed & self.warm_start, trial, state.start)
        still = accepted & (before - after <= self.precision * torch.maximum(before.abs(), after.abs()))
        length = shorter * state.direction.flatten(1).norm(dim=1)
        over = still | (~accepted & (length < SHORTEST)) | (inner >= self.inner)
        bracket = replace(state.bracket, inner=inner, hit=hit).after(over)
        turned = replace(
            state,
            start=start,
            point=_chosen(accepted, trial, point),
            moves=_pushed(curved, moved, state.moves),
            bends=_pushed(curved, bend, state.bends),
            bracket=bracket,
        )
        return self._turned(region, turned, accepted, over, shorter)

    def _turned(
        self, region: Region, state: QuasiNewton, accepted: Tensor, over: Tensor, shorter: Tensor
    ) -> QuasiNewton:
        """Rows that moved take a new direction; those whose round is over begin the next one."""
        point = _chosen(over, state.start, state.point)
        forget = over[:, None, None]
        moves, bends = state.moves.masked_fill(forget, 0), state.bends.masked_fill(forget, 0)
        state, fresh = replace(state, point=point, moves=moves, bends=bends), accepted | over
        direction = torch.where(rowwise(fresh, region.x), _direction(region, state), state.direction)
        return replace(state, direction=direction, stretch=torch.where(fresh, _whole(region, direction), shorter))

    def done(self, state: QuasiNewton) -> Tensor:
        bracket = state.bracket
        return (bracket.round >= self.rounds) | (bracket.high <= bracket.low * (1 + self.tolerance))


def _objective(point: Point, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """|r|^2 - weight * loss, where a higher loss is nearer to the goal, and its gradient."""
    delta = point.image - x
    value = delta.square().flatten(1).sum(1) - weight * point.loss
    return value, 2 * delta - point.grad * rowwise(weight, x)


def _whole(region: Region, direction: Tensor) -> Tensor:
    """(B,) the whole step, or what of it crosses the range once."""
    length: Tensor = direction.flatten(1).norm(dim=1)
    return (region.extent / length.clamp_min(tiny(direction))).clamp(max=1)


def _chosen(rows: Tensor, one: Point, other: Point) -> Point:
    wide = rowwise(rows, one.image)
    return Point(
        torch.where(wide, one.image, other.image),
        torch.where(rows, one.loss, other.loss),
        torch.where(wide, one.grad, other.grad),
    )


def _pushed(rows: Tensor, newest: Tensor, history: Tensor) -> Tensor:
    """The history with `newest` in front, in these rows."""
    return torch.where(rows[:, None, None], torch.cat([newest[:, None], history[:, :-1]], dim=1), history)


def _direction(region: Region, state: QuasiNewton) -> Tensor:
    """-H grad over the components that are free to move; H is half the identity where there is no history."""
    slope = _objective(state.point, region.x, state.bracket.weight)[1]
    image = state.point.image
    free = (region.room(-slope, image) > 0) | (slope == 0)
    rest = (slope * free).flatten(1)
    moves, bends = state.moves * free.flatten(1)[:, None], state.bends * free.flatten(1)[:, None]
    product, squares = (moves * bends).sum(2), bends.square().sum(2)
    usable = product > 1e-10 * squares
    inverse = torch.where(usable, 1 / product.clamp_min(tiny(image)), 0)
    last = usable.to(torch.int8).argmax(1, keepdim=True)  # the newest usable pair
    gamma = torch.where(usable, product / squares.clamp_min(tiny(image)), 0.5).gather(1, last)
    shares = []
    result = rest
    for i in range(moves.shape[1]):
        shares.append(inverse[:, i] * (moves[:, i] * result).sum(1))
        result = result - shares[i][:, None] * bends[:, i]
    result = result * gamma
    for i in reversed(range(moves.shape[1])):
        back = inverse[:, i] * (bends[:, i] * result).sum(1)
        result = result + (shares[i] - back)[:, None] * moves[:, i]
    uphill = (result * rest).sum(1) <= 0
    return -torch.where(uphill[:, None], rest / 2, result).view_as(image)
