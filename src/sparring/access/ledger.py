"""The ledger: every answer, with the very image it was given for.

Attacks track no best, count nothing and stop nothing: what the caller gets back is an image from here, one
that the target really answered for, inside the ball and the valid range.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import Enum, IntEnum

import torch
from torch import Tensor

from ..geometry import Ball, rowwise
from ..goals import Verdict
from .budget import Budget

TOLERANCE = 1e-6  # rounding that an image may exceed the ball and the valid range by


class Keep(Enum):
    """Which of the answered examples the caller wants back."""

    FIRST = "first"  # the first that wins; the row then leaves the search
    SMALLEST = "smallest"  # the winner nearest to the original
    WORST = "worst"  # the highest loss, winners before others


class Reason(IntEnum):
    """Why a row ended as it did."""

    FOUND = 0  # an example was found and confirmed
    ALREADY = 1  # the goal was met before the attack
    EXHAUSTED = 2  # the attack ran to its end without success
    BUDGET = 3  # the budget closed the row first
    NO_GRADIENT = 4  # every gradient was exactly zero
    NO_START = 5  # no starting point was found
    NON_FINITE = 6  # the target answered NaN or infinity
    UNCONFIRMED = 7  # won in the search, lost when asked again
    LOCKED_OUT = 8  # the target answered no more


class Ledger:
    """The rows of one batch: best image so far, what it cost, and who is closed."""

    def __init__(
        self,
        x: Tensor,
        ball: Ball,
        keep: Keep,
        budget: Budget,
        confidence: float = 0.0,
        measure: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        n, device = len(x), x.device
        self.x, self.ball, self.keep, self.budget, self.confidence = x, ball, keep, budget, confidence
        self.measure = measure or ball.norm  # what the smallest perturbation is smallest in
        self.notes: set[str] = set()  # what the caller must be told
        self.best = x.clone()
        self.value = torch.full((n,), -torch.inf, dtype=x.dtype, device=device)  # what `keep` maximises
        self.won = torch.zeros(n, dtype=torch.bool, device=device)
        self.already, self.no_start, self.finished = self.won.clone(), self.won.clone(), self.won.clone()
        self.non_finite, self.sloped, self.refused = self.won.clone(), self.won.clone(), self.won.clone()
        self.locked = self.won.clone()
        self.passes = torch.zeros(2, n, dtype=torch.long, device=device)
        self.forwards, self.backwards = self.passes.unbind(0)  # views
        self.checks = self.forwards.clone()
        self.first = torch.full_like(self.forwards, -1)
        self.won_any = False  # may a row have been won?
        self.stirred = True  # has any row been won, closed or finished since the engine last looked?

    def tensors(self) -> dict[str, Tensor]:
        """Everything that changes, by name: what a checkpoint holds."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}

    def load(self, tensors: dict[str, Tensor]) -> None:
        for name, value in tensors.items():
            getattr(self, name).copy_(value)
        self.won_any = bool(self.won.any())

    def spent(self) -> Tensor:
        """(N,) bool: rows whose budget is used up, or too small for what was asked last."""
        over = self.refused.clone()
        if self.budget.forwards is not None:
            over |= self.forwards >= self.budget.forwards
        if self.budget.backwards is not None:
            over |= self.backwards >= self.budget.backwards
        return over

    def closed(self) -> Tensor:
        """(N,) bool: rows that need no more answers."""
        done = self.already | self.no_start | self.finished | self.spent()
        return done | self.won if self.keep is Keep.FIRST else done

    def record(self, rows: Tensor, rank: Tensor | None, x: Tensor, verdict: Verdict, backwards: int) -> None:
        """Write the answers for images x (Q, ...) of `rows` (Q,), non-decreasing.

        `rank` (Q,) counts the images of a row within this call; None says that no row comes twice.
        """
        before = None if rank is None else self.forwards[rows]
        whole = rank is None and len(rows) == len(self.x)  # every row, in order
        if whole:
            if backwards == 1:
                self.passes += 1
            else:
                self.forwards += 1
                self.backwards += backwards
        else:
            once = torch.ones_like(rows)
            self.forwards.index_add_(0, rows, once)
            if backwards:
                self.backwards.index_add_(0, rows, once, alpha=backwards)
        looking = not x.is_cuda  # on a GPU looking would cost a synchronisation
        margin = verdict.margin
        if self.keep is Keep.FIRST and self.won_any:
            margin = margin.masked_fill(self.won if whole else self.won[rows], -torch.inf)
        if looking and self.keep is not Keep.WORST and float(margin.amax()) <= self.confidence:
            return  # the usual step: no NaN, nothing won, nothing to write
        if not looking or not bool(verdict.margin.isfinite().all()):
            self.note(self.non_finite, rows, rank is not None, ~verdict.margin.isfinite())
        candidate = ~verdict.loss.isnan() if self.keep is Keep.WORST else margin > self.confidence
        if looking or rank is not None:
            chosen = (candidate & ~self.finished[rows]).nonzero().squeeze(1)
            if len(chosen) == 0:
                return
            rows, x = rows[chosen], x[chosen]
            verdict, candidate = Verdict(verdict.margin[chosen], verdict.loss[chosen]), candidate[chosen]
            count = self.forwards[rows] if rank is None or before is None else before[chosen] + rank[chosen] + 1
        else:
            candidate = candidate & ~self.finished[rows]
            count = self.forwards[rows]
        self.stirred = True
        self._keep(rows, rank is not None, x, verdict, count, verdict.margin > self.confidence, candidate)

    @staticmethod
    def note(flags: Tensor, rows: Tensor, repeated: bool, true: Tensor) -> None:
        """flags[rows] |= true, also where a row comes several times."""
        if repeated:
            flags[rows[true]] = True
        else:
            flags[rows] |= true

    def _keep(
        self,
        rows: Tensor,
        repeated: bool,
        x: Tensor,
        verdict: Verdict,
        count: Tensor,
        won: Tensor,
        candidate: Tensor,
    ) -> None:
        delta, flat, eps = x - self.x[rows], x.flatten(1), self.ball.eps
        inside = (flat.amin(1) >= -TOLERANCE) & (flat.amax(1) <= 1 + TOLERANCE)
        if math.isfinite(eps):
            inside &= self.ball.norm(delta) <= eps + TOLERANCE * max(1.0, eps)
        value = self._value(delta, verdict)
        ahead = torch.where(won == self.won[rows], value > self.value[rows], won)  # winners before others
        better = candidate & inside & ahead
        if repeated:
            count = _earliest(rows, better & won, count, len(self.x))
            better = _one_per_row(rows, better, won, value, len(self.x))
        if not x.is_cuda or repeated:
            chosen = better.nonzero().squeeze(1)
            rows, x, value, count, won = rows[chosen], x[chosen], value[chosen], count[chosen], won[chosen]
            better = better[chosen]
        self.best[rows] = torch.where(rowwise(better, x), x, self.best[rows])
        self.value[rows] = torch.where(better, value, self.value[rows])
        fell = better & won
        self.first[rows] = torch.where(fell & (self.first[rows] < 0), count, self.first[rows])
        self.won[rows] = self.won[rows] | fell
        self.won_any = True

    def _value(self, delta: Tensor, verdict: Verdict) -> Tensor:
        if self.keep is Keep.SMALLEST:
            return -self.measure(delta)
        return verdict.loss.to(delta.dtype) if self.keep is Keep.WORST else delta.new_zeros(len(delta))


def _earliest(rows: Tensor, true: Tensor, count: Tensor, n: int) -> Tensor:
    """(Q,) the least count of the row among the images where `true`."""
    least = torch.full((n,), torch.iinfo(count.dtype).max, device=rows.device)
    return least.scatter_reduce(0, rows[true], count[true], "amin")[rows]


def _one_per_row(rows: Tensor, better: Tensor, won: Tensor, value: Tensor, n: int) -> Tensor:
    """Of several candidates of a row only the best, winners before others, the earliest among equals."""
    falls = torch.zeros(n, dtype=torch.bool, device=rows.device)
    falls[rows[better & won]] = True
    better = better & (won | ~falls[rows])
    score = torch.where(better, value, -torch.inf)
    top = torch.full((n,), -torch.inf, dtype=value.dtype, device=value.device)
    top = top.scatter_reduce(0, rows, score, "amax")
    tied = better & (score == top[rows])
    position = torch.arange(len(rows), device=rows.device)
    earliest = torch.full((n,), len(rows), device=rows.device)
    earliest = earliest.scatter_reduce(0, rows, torch.where(tied, position, len(rows)), "amin")
    return tied & (position == earliest[rows])
