"""The ledger of a batch: the best example of each row so far, the passes spent on it, and why it ended.

Attacks do none of this themselves. The example that the caller gets back is an image that the ledger recorded: the
target answered for exactly this image, and it lies inside the ball and the valid range.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import Enum, IntEnum
from functools import cached_property

import torch
from torch import Tensor

from ..geometry import rowwise
from ..geometry.region import TOLERANCE, Region
from ..goals import Verdict
from ..shapes import BoolPerRow, FloatBatch, FloatPerRow, IntPerRow
from .budget import Budget
from .deferred_writes import DeferredWrites, defers


class Keep(Enum):
    """Which of the queried images the caller gets back."""

    FIRST = "first"  # the first success; the row then leaves the search
    SMALLEST = "smallest"  # the success with the smallest perturbation
    HIGHEST_LOSS = "highest-loss"  # the highest loss, successes before others
    HIGHEST_MARGIN = "highest-margin"  # the highest margin; for stochastic targets the image that succeeds most often


class Reason(IntEnum):
    """Why a row ended as it did."""

    FOUND = 0  # an example was found and confirmed
    ALREADY = 1  # the goal was met before the attack
    EXHAUSTED = 2  # the attack ran to its end without success
    BUDGET = 3  # the budget was used up first
    NO_GRADIENT = 4  # every gradient was exactly zero
    NO_START = 5  # no starting point was found
    NON_FINITE = 6  # the target answered NaN or infinity, which is no answer: the row counts as neither robust nor won
    UNCONFIRMED = 7  # a success in the search, which was not confirmed
    LOCKED_OUT = 8  # the target refused further queries (`LockedOut`)
    NON_FINITE_GRADIENT = 9  # a gradient was NaN or infinite, and was taken as zero


class Ledger:
    """The record of one batch: the best image of each row so far, its passes, and which rows get no more answers."""

    def __init__(
        self,
        region: Region,
        keep: Keep,
        budget: Budget,
        confidence: float = 0.0,
        measure: Callable[[Tensor, Region], Tensor] | None = None,
    ) -> None:
        x = region.x
        n, device = len(x), x.device
        self.x, self.region, self.keep, self.budget, self.confidence = x, region, keep, budget, confidence
        self.measure = measure or _norm  # the size that `Keep.SMALLEST` minimizes
        self.notes: set[str] = set()  # messages for the outcome
        self.best = x.clone()
        self.value = torch.full((n,), -torch.inf, dtype=x.dtype, device=device)  # what `keep` maximises
        self.won = torch.zeros(n, dtype=torch.bool, device=device)
        self.already, self.no_start, self.finished = self.won.clone(), self.won.clone(), self.won.clone()
        self.non_finite, self.nonzero_gradient, self.over_budget = self.won.clone(), self.won.clone(), self.won.clone()
        self.locked_out, self.non_finite_gradient = self.won.clone(), self.won.clone()
        self.passes = torch.zeros(2, n, dtype=torch.long, device=device)
        self.checks = torch.zeros(n, dtype=torch.long, device=device)
        self.queries_to_success = torch.full_like(self.checks, -1)
        # the rows of the last query, and their passes that are not yet in `passes`
        self._asked, self._again, self._back = self.won.nonzero(), 0, 0
        self.defers = defers(x)
        self._deferred = DeferredWrites()  # answers to those rows, not yet recorded
        self.draws = 1  # passes that one answer takes
        # the rows of the last query, which of them still need an answer (None: all do), and how many do not
        self._standing: tuple[Tensor, Tensor | None, int] | None = None
        self.changed = True  # has any row succeeded or ended since the engine last checked?

    @property
    def forwards(self) -> IntPerRow:
        """(N,) int64: forward passes."""
        self.settle()
        return self.passes[0]

    @property
    def backwards(self) -> IntPerRow:
        """(N,) int64: backward passes."""
        self.settle()
        return self.passes[1]

    @property
    def zero_gradient(self) -> BoolPerRow:
        """(N,) bool: rows with gradient queries, all of which gave exactly zero."""
        return (self.backwards > 0) & ~self.nonzero_gradient

    def settle(self) -> None:
        """Record the buffered answers and passes; to be called before anything but `x` and `checks` is read."""
        self._record_buffered()
        if self._again:
            once = torch.ones_like(self._asked)
            self.passes[0].index_add_(0, self._asked, once, alpha=self._again)
            self.passes[1].index_add_(0, self._asked, once, alpha=self._back)
            self._again = self._back = 0

    def _record_buffered(self) -> None:
        if self._deferred.answers:
            self._write(*self._deferred.taken())
        if self._deferred.peaks:
            rows, peaks = self._deferred.taken_peaks()
            self._note_slopes(rows, False, (peaks > 0).any(0), peaks.isfinite().all(0))

    def tensors(self) -> dict[str, Tensor]:
        """Return every tensor that changes, by name, for a checkpoint."""
        self.settle()
        return {n: value for n, value in vars(self).items() if isinstance(value, Tensor) and not n.startswith("_")}

    def load(self, tensors: dict[str, Tensor]) -> None:
        for name, value in tensors.items():
            getattr(self, name).copy_(value)
        self._standing = None

    def spent(self) -> BoolPerRow:
        """Return (N,) bool: rows whose budget is used up, or was too small for their last query."""
        over = self.over_budget
        if self.budget.forwards is not None:
            over = over | (self.forwards >= self.budget.forwards)
        if self.budget.backwards is not None:
            over = over | (self.backwards >= self.budget.backwards)
        return over

    def closed(self, won: bool = True) -> BoolPerRow:
        """Return (N,) bool: rows that get no more answers; with `won=False`, those that succeeded are no reason."""
        self._record_buffered()
        done = self.already | self.no_start | self.finished | self.spent()
        return done | self.won if won and self.keep is Keep.FIRST else done

    def record(self, rows: IntPerRow, rank: IntPerRow | None, x: FloatBatch, verdict: Verdict, backwards: int) -> None:
        """Record the answers for images x (Q, ...) of `rows` (Q,), non-decreasing.

        `rank` (Q,) numbers the images of the same row within this call; None: one image per row. An answer averaged
        over several draws counts as several passes.
        """
        before = None if rank is None else self.forwards[rows]
        if rows is not self._asked:  # the active rows are the same tensor until some leave
            self.settle()
            self._asked = rows
        self._again, self._back = self._again + self.draws, self._back + backwards * self.draws
        if self.defers and rank is None:
            if self._deferred.full_with(x, verdict):
                self.settle()
            return
        margin, standing = verdict.margin, None
        if self.keep is Keep.FIRST:
            standing, done = self._still_standing(rows)
            if done == len(rows):
                return
        if self.keep in (Keep.FIRST, Keep.SMALLEST):
            most = float(margin.amax())
            if most <= self.confidence:
                return  # the usual step: no NaN, nothing won, nothing to write
            if self.keep is Keep.FIRST and rank is None and most < math.inf:
                fallen = margin > self.confidence
                self._fall(rows, x, fallen if standing is None else fallen.logical_and_(standing))
                return
        if standing is not None:
            margin = margin.masked_fill(~standing, -torch.inf)
        unanswered = verdict.margin.isnan() | verdict.margin.isposinf()
        if bool(unanswered.any()):
            self.note(self.non_finite, rows, rank is not None, unanswered)
        chosen = (self._candidates(margin, verdict.loss) & ~self.finished[rows]).nonzero().squeeze(1)
        if len(chosen) == 0:
            return
        rows, x, verdict = rows[chosen], x[chosen], Verdict(verdict.margin[chosen], verdict.loss[chosen])
        asked = 1 if rank is None else rank[chosen] + 1
        count = self.forwards[rows] if before is None else before[chosen] + asked * self.draws
        self.changed = True
        self._keep(rows, rank is not None, x, verdict, count)

    def slope(self, rows: IntPerRow, repeated: bool, peak: FloatPerRow) -> None:
        """Record for `rows` (Q,) whether their gradient, of largest component `peak` (Q,), is zero or not finite."""
        if not self.defers or repeated:
            self._note_slopes(rows, repeated, peak > 0, peak.isfinite())
        elif not self._deferred.held(rows, peak):
            self.settle()
            self._deferred.held(rows, peak)

    def _note_slopes(self, rows: Tensor, repeated: bool, nonzero_gradient: Tensor, finite: Tensor) -> None:
        self.note(self.nonzero_gradient, rows, repeated, nonzero_gradient)
        self.note(self.non_finite_gradient, rows, repeated, ~finite)

    def _write(self, x: Tensor, margin: Tensor, loss: Tensor) -> None:
        """Record k answers to each row of the last query, x (k, Q, ...), margin and loss (k, Q), without a GPU sync."""
        rows, (k, q) = self._asked, x.shape[:2]
        flat = x.flatten(0, 1)
        delta = (x - self.x[rows]).flatten(0, 1)
        may, won = self._candidates(margin, loss), margin > self.confidence
        may &= self._inside(flat, delta, rows.repeat(k)).view(k, q) & ~self.finished[rows]
        falls = may & won
        fell = falls.any(0)
        value = self._value(delta, Verdict(margin.flatten(), loss.flatten()), rows.repeat(k)).view(k, q)
        among = torch.where(fell, falls, may)  # winners before others, the earliest among equals
        value, which = torch.where(among, value, -torch.inf).max(0)
        ahead = torch.where(fell == self.won[rows], value > self.value[rows], fell) & among.any(0)
        best = x[which, torch.arange(q, device=x.device)]
        self.best[rows] = torch.where(rowwise(ahead, best), best, self.best[rows])
        self.value[rows] = torch.where(ahead, value, self.value[rows])
        count = self.passes[0][rows] + self._again - self.draws * (k - 1 - falls.int().argmax(0))
        self.queries_to_success[rows] = torch.where(
            fell & (self.queries_to_success[rows] < 0), count, self.queries_to_success[rows]
        )
        self.won[rows] |= fell
        self.non_finite[rows] |= (margin.isnan() | margin.isposinf()).any(0)
        self.changed = True

    def _candidates(self, margin: Tensor, loss: Tensor) -> Tensor:
        """(Q,) bool: the images that may be kept."""
        if self.keep is Keep.HIGHEST_LOSS:
            return ~loss.isnan()
        return ~margin.isnan() if self.keep is Keep.HIGHEST_MARGIN else margin > self.confidence

    def _fall(self, asked: Tensor, x: Tensor, fallen: Tensor) -> None:
        """Keep the first success of each row in the mask `fallen` (Q,)."""
        chosen = fallen.nonzero().squeeze(1)
        if len(chosen) == 0:
            return
        rows, x = asked.index_select(0, chosen), x.index_select(0, chosen)
        delta = x - self.x.index_select(0, rows)
        if not self._all_inside(x, delta):
            inside = self._inside(x, delta, rows)
            chosen, rows, x = chosen[inside], rows[inside], x[inside]
        self.best.index_copy_(0, rows, x)
        self.won.index_fill_(0, rows, True)
        self.queries_to_success.index_copy_(0, rows, self.passes[0].index_select(0, rows).add_(self._again))
        standing, done = self._still_standing(asked)
        standing = torch.ones_like(fallen) if standing is None else standing
        self.changed, self._standing = True, (asked, standing.index_fill_(0, chosen, False), done + len(chosen))

    def _all_inside(self, x: Tensor, delta: Tensor) -> bool:
        """Return whether all images are inside, by a cheap test; False also where only `_inside` can tell."""
        region = self.region
        if region.free is not None or isinstance(region.low, Tensor) or isinstance(region.radius, Tensor):
            return False
        low, high = x.aminmax()
        fits = float(low) >= region.low - TOLERANCE and float(high) <= region.high + TOLERANCE
        return bool(fits and (math.isinf(region.radius) or float(region.norm(delta).amax()) <= self._reach))

    @cached_property
    def _reach(self) -> Tensor | float:
        """The radius, one for all rows or (N,), plus the tolerance for rounding."""
        radius = self.region.radius
        return radius + TOLERANCE * (radius.clamp_min(1) if isinstance(radius, Tensor) else max(1.0, radius))

    def _still_standing(self, rows: Tensor) -> tuple[Tensor | None, int]:
        """Return (Q,) bool, the rows that have neither succeeded nor finished (None: all), and how many have."""
        if self._standing is None or self._standing[0] is not rows:
            over = (self.won | self.finished)[rows]
            count = int(over.sum())
            self._standing = rows, ~over if count else None, count
        return self._standing[1], self._standing[2]

    def finish(self, rows: Tensor, done: Tensor) -> None:
        """Mark those of `rows` (Q,), each at most once, as finished where `done` (Q,)."""
        self.settle()
        self.finished[rows] |= done
        self._standing = None

    def _inside(self, x: Tensor, delta: Tensor, rows: Tensor) -> Tensor:
        """(Q,) bool: do the images `x` lie in the regions of `rows`?"""
        region, reach = self.region, self._reach
        low, high = (bound[rows] if isinstance(bound, Tensor) else bound for bound in region.range)
        inside = ((x >= low - TOLERANCE) & (x <= high + TOLERANCE)).flatten(1).all(1)
        if isinstance(reach, Tensor):
            return inside & (region.norm(delta) <= reach[rows])
        return inside if math.isinf(reach) else inside & (region.norm(delta) <= reach)

    @staticmethod
    def note(flags: Tensor, rows: Tensor, repeated: bool, true: Tensor) -> None:
        """Set flags[rows] |= true, also where rows are repeated."""
        if repeated:
            flags[rows[true]] = True
        else:
            flags[rows] |= true

    def _keep(self, rows: Tensor, repeated: bool, x: Tensor, verdict: Verdict, count: Tensor) -> None:
        """Keep those of the images x (Q, ...) that are better than the best one of their row."""
        delta, won = x - self.x[rows], verdict.margin > self.confidence
        inside, value = self._inside(x, delta, rows), self._value(delta, verdict, rows)
        ahead = torch.where(won == self.won[rows], value > self.value[rows], won)  # winners before others
        better = inside & ahead
        if repeated:
            count = _earliest(rows, better & won, count, len(self.x))
            better = _one_per_row(rows, better, won, value, len(self.x))
        chosen = better.nonzero().squeeze(1)
        rows, x, value, count, won = rows[chosen], x[chosen], value[chosen], count[chosen], won[chosen]
        self.best[rows], self.value[rows] = x, value
        self.queries_to_success[rows] = torch.where(
            won & (self.queries_to_success[rows] < 0), count, self.queries_to_success[rows]
        )
        self.won[rows] |= won
        self._standing = None

    def _value(self, delta: Tensor, verdict: Verdict, rows: Tensor) -> Tensor:
        if self.keep is Keep.SMALLEST:
            return -self.measure(delta, self.region.take(rows))
        if self.keep is Keep.HIGHEST_MARGIN:
            return verdict.margin.to(delta.dtype)
        return verdict.loss.to(delta.dtype) if self.keep is Keep.HIGHEST_LOSS else delta.new_zeros(len(delta))


def _norm(delta: Tensor, region: Region) -> Tensor:
    return region.norm(delta)


def _earliest(rows: Tensor, true: Tensor, count: Tensor, n: int) -> Tensor:
    """(Q,) the least count of the row among the images where `true`."""
    least = torch.full((n,), torch.iinfo(count.dtype).max, device=rows.device)
    return least.scatter_reduce(0, rows[true], count[true], "amin")[rows]


def _one_per_row(rows: Tensor, better: Tensor, won: Tensor, value: Tensor, n: int) -> Tensor:
    """Select the best candidate of each row: successes before others, the earliest among equals."""
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
