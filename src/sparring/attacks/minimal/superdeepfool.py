"""SuperDeepFool (Abdolahpourrostam et al. 2023, arXiv:2303.12481, algorithm 2): SDF(m, n).

    m times, or until x' is across      x' = x' + (1 + overshoot) (|f| / |w|_2 + 1e-4) w / |w|_2
    n times                             x' = x + <x' - x, w> w / |w|_2^2

and again, and at last a search on the line from x to the best x' for the boundary. f is the lead over the label at x'
and w its gradient: the shortest way to a boundary is along its normal, to which the projection turns x' - x.

Departures: the paper stops at the first projection that is across. Here a row goes on; each crossing that is no nearer
than 0.999 of the best halves the turn, the share of the way to x + <..> w that a projection takes, and the third ends
the row. Where x' is across, the projection ends on the linearised boundary (<x' - x, w> - f). DeepFool looks for the
nearest class once, at the image; from there on w is the gradient of the margin, one backward pass instead of one for
each class. In the walk, pixels that the valid range holds are left out of w. The search is by secants (Illinois)
instead of bisection.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ...access import Attack, Batch, Jacobians, Keep, margin_objective
from ...errors import ConfigError
from ...geometry import L2, Ball, rowwise, tiny
from ...geometry.region import Region

SLACK, PROGRESS, NUDGE = 1e-4, 0.999, 1e-4
LEAST = 0.2  # turn


@dataclass(frozen=True)
class Turns:
    """Where each row stands, its nearest crossing, and what it does next."""

    at: Tensor
    best: Tensor  # image
    size: Tensor  # of the best perturbation
    margins: Tensor  # (B, 2) at the image, and at the best
    walked: Tensor  # DeepFool steps since the last projection; negative: projections that are left
    turn: Tensor  # share of the way to the normal that a projection takes
    going: Tensor


@dataclass(frozen=True)
class SuperDeepFool(Attack[Jacobians, Turns]):
    """Minimum L2 norm: DeepFool, turned to the normal of the boundary that it has met.

    Args:
        steps: gradients per row at most.
        walks: m, DeepFool steps before a projection; None: until across (SDF(infinity, n), the paper's choice). With
            few, rows may be turned back again and again short of the boundary.
        turns: n, projections in a row (1 in the paper's choice).
        classes: how many of the nearest classes are looked at first, the label included.
        overshoot: of DeepFool's steps (0.02 in the paper).
        searches: forward passes of the line search.
        ball: L2; a finite eps asks for examples within it.
    """

    steps: int = 50
    walks: int | None = None
    turns: int = 1
    classes: int = 10
    overshoot: float = 0.02
    searches: int = 4
    ball: Ball = L2()

    norms: ClassVar[tuple[type[Ball], ...]] = (L2,)
    elsewhere: ClassVar[str] = "DeepFool or FMN"
    regional: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        counts = (self.steps, self.turns, self.classes - 1, self.searches + 1, 1 if self.walks is None else self.walks)
        if min(counts) < 1 or self.overshoot < 0:
            raise ConfigError(
                f"SuperDeepFool steps={self.steps}, walks={self.walks}, turns={self.turns}, classes={self.classes}, "
                f"overshoot={self.overshoot}, searches={self.searches}; pass at least 1, 1, 1, 2, 0 and 0"
            )

    @property
    def keep(self) -> Keep:
        return Keep.SMALLEST

    def init(self, oracle: Jacobians, batch: Batch) -> Turns:
        x, none = oracle.region.x, torch.full_like(oracle.region.eps, torch.inf)
        count = torch.zeros_like(oracle.key.indices)
        return Turns(x, x, none, torch.stack((none, none), dim=1), count, torch.ones_like(none), count == 0)

    def step(self, oracle: Jacobians, state: Turns, t: int) -> Turns:
        region = oracle.region
        margin, value, slope = self._first(oracle) if t == 0 else self._ask(oracle, state)
        slope = region.masked(slope)
        across, size = state.going & (margin > 0), region.norm(state.at - region.x)
        nearer = across & (size < state.size)
        turn = torch.where(across & (size > PROGRESS * state.size), state.turn / 2, state.turn)
        going = state.going & (turn > LEAST)
        low, high = state.margins.unbind(1)
        turning = across | (state.walked < 0)
        if self.walks is not None:
            turning |= state.walked >= self.walks
        turned = state.at.lerp(self._turned(region, state, slope, value), rowwise(turn, slope))
        moved = torch.where(rowwise(turning, slope), turned, self._walked(region, state, slope, value))
        left = torch.where(state.walked < 0, state.walked + 1, 1 - self.turns)
        state = replace(
            state,
            at=region.clamp_(torch.where(rowwise(going, moved), moved, state.at)),
            best=torch.where(rowwise(nearer, moved), state.at, state.best),
            size=torch.where(nearer, size, state.size),
            margins=torch.stack((margin if t == 0 else low, torch.where(nearer, margin, high)), dim=1),
            walked=torch.where(turning, left, state.walked + 1),
            turn=turn,
            going=going,
        )
        if t + 1 < self.steps and bool(going.any()):
            return state
        self._search(oracle, state)
        return replace(state, going=torch.zeros_like(going))

    def _first(self, oracle: Jacobians) -> tuple[Tensor, Tensor, Tensor]:
        """The margin, and lead and slope of the class whose linearised boundary is nearest."""
        x = oracle.region.x
        answer = oracle.jacobian(x, self.classes - 1)
        lengths = oracle.region.dual_norm_many(answer.grads).clamp_min(tiny(x))
        nearest = (answer.margins.abs() / lengths).nan_to_num(nan=torch.inf).argmin(1)
        row = torch.arange(len(x), device=x.device)
        return answer.verdict.margin, answer.margins[row, nearest], answer.grads[row, nearest]

    def _ask(self, oracle: Jacobians, state: Turns) -> tuple[Tensor, Tensor, Tensor]:
        """The margin (twice) and its slope where rows are going."""
        rows = state.going.nonzero().squeeze(1)
        answer = oracle.gradient(state.at[rows], objective=margin_objective, rows=rows)
        margin = torch.full_like(state.size, -torch.inf).index_copy(0, rows, answer.verdict.margin)
        return margin, margin, torch.zeros_like(state.at).index_copy(0, rows, answer.grad)

    def _walked(self, region: Region, state: Turns, slope: Tensor, value: Tensor) -> Tensor:
        free = slope * (region.room(slope, state.at) > 0)
        length = free.flatten(1).norm(dim=1).clamp_min(tiny(free))
        scale = (1 + self.overshoot) * (value.abs() / length + SLACK) / length
        return state.at + free * rowwise(scale.nan_to_num(0.0, 0.0, 0.0), free)

    def _turned(self, region: Region, state: Turns, slope: Tensor, value: Tensor) -> Tensor:
        normal = region.steepest(slope)
        beyond = value.clamp_min(0) / slope.flatten(1).norm(dim=1).clamp_min(tiny(slope))
        return region.x + normal * rowwise(((state.at - region.x) * normal).flatten(1).sum(1) - beyond, normal)

    def _search(self, oracle: Jacobians, state: Turns) -> None:
        """Where the line from the image to the best example meets the boundary."""
        rows = state.size.isfinite().nonzero().squeeze(1)
        x = oracle.region.x[rows]
        way = state.best[rows] - x
        below, above = state.margins[rows].unbind(1)
        low, high, last = torch.zeros_like(below), torch.ones_like(above), torch.zeros_like(above)
        for _ in range(self.searches if len(rows) else 0):
            share = low + (high - low) * (below / (below - above)).nan_to_num(0.5)
            share = torch.minimum(share * (1 + NUDGE), (low + high) / 2 + (high - low) * 0.499)
            margin = oracle.score(x + way * rowwise(share, way), rows=rows).margin
            won, again = margin > 0, 0.5 ** (margin.sign() == last)  # the end that stays twice counts half
            below, above = torch.where(won, below * again, margin), torch.where(won, margin, above * again)
            low, high, last = torch.where(won, low, share), torch.where(won, share, high), margin.sign()

    def done(self, state: Turns) -> Tensor | None:
        return None if bool(state.going.any()) else ~state.going
