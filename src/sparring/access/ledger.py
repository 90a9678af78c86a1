"""The ledger: every answer, with the very image it was given for.

Attacks track no best, count nothing and stop nothing: what the caller gets back is an image from here, one
that the target really answered for, inside the ball and the valid range.
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
from .waiting import Waiting, waits


class Keep(Enum):
    """Which of the answered examples the caller wants back."""

    FIRST = "first"  # the first that wins; the row then leaves the search
    SMALLEST = "smallest"  # the winner nearest to the original
    HIGHEST_LOSS = "worst"  # the highest loss, winners before others
    HIGHEST_MARGIN = "surest"  # the highest margin: of a model that answers otherwise each time, what wins most often


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
        region: Region,
        keep: Keep,
        budget: Budget,
        confidence: float = 0.0,
        measure: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        x = region.x
        n, device = len(x), x.device
        self.x, self.region, self.keep, self.budget, self.confidence = x, region, keep, budget, confidence
        self.measure = measure or region.norm  # what the smallest perturbation is smallest in
        self.notes: set[str] = set()  # what the caller must be told
        self.best = x.clone()
        self.value = torch.full((n,), -torch.inf, dtype=x.dtype, device=device)  # what `keep` maximises
        self.won = torch.zeros(n, dtype=torch.bool, device=device)
        self.already, self.no_start, self.finished = self.won.clone(), self.won.clone(), self.won.clone()
        self.non_finite, self.nonzero_gradient, self.over_budget = self.won.clone(), self.won.clone(), self.won.clone()
        self.locked_out = self.won.clone()
        self.passes = torch.zeros(2, n, dtype=torch.long, device=device)
        self.checks = torch.zeros(n, dtype=torch.long, device=device)
        self.queries_to_success = torch.full_like(self.checks, -1)
        self._asked, self._again, self._back = self.won.nonzero(), 0, 0  # passes of these rows, not yet in `passes`
        self.waits = waits(x)
        self._waiting = Waiting()  # answers to those rows, not yet written
        self.draws = 1  # passes that one answer takes
        self._over: tuple[Tensor, Tensor | None] | None = None  # the rows asked last, and which were over
        self.changed = True  # has any row been won, closed or finished since the engine last looked?

    @property
    def forwards(self) -> IntPerRow:
        """(N,) int64: images asked about."""
        self.settle()
        return self.passes[0]

    @property
    def backwards(self) -> IntPerRow:
        """(N,) int64: gradients taken."""
        self.settle()
        return self.passes[1]

    def settle(self) -> None:
        """Write what waits: before anything but `x` and `checks` is read."""
        if self._waiting.answers:
            self._write(*self._waiting.taken())
        if self._waiting.peaks:
            rows, peaks = self._waiting.taken_peaks()
            self._note_slopes(rows, False, (peaks > 0).any(0), peaks.isfinite().all(0))
        if self._again:
            once = torch.ones_like(self._asked)
            self.passes[0].index_add_(0, self._asked, once, alpha=self._again)
            self.passes[1].index_add_(0, self._asked, once, alpha=self._back)
            self._again = self._back = 0

    def tensors(self) -> dict[str, Tensor]:
        """Everything that changes, by name: what a checkpoint holds."""
        self.settle()
        return {n: value for n, value in vars(self).items() if isinstance(value, Tensor) and not n.startswith("_")}

    def load(self, tensors: dict[str, Tensor]) -> None:
        for name, value in tensors.items():
            getattr(self, name).copy_(value)
        self._over = None

    def spent(self) -> BoolPerRow:
        """(N,) bool: rows whose budget is used up, or too small for what was asked last."""
        over = self.over_budget.clone()
        if self.budget.forwards is not None:
            over |= self.forwards >= self.budget.forwards
        if self.budget.backwards is not None:
            over |= self.backwards >= self.budget.backwards
        return over

    def closed(self) -> BoolPerRow:
        """(N,) bool: rows that need no more answers."""
        self.settle()
        done = self.already | self.no_start | self.finished | self.spent()
        return done | self.won if self.keep is Keep.FIRST else done

    def record(self, rows: IntPerRow, rank: IntPerRow | None, x: FloatBatch, verdict: Verdict, backwards: int) -> None:
        """Write the answers for images x (Q, ...) of `rows` (Q,), non-decreasing.

        `rank` (Q,) counts the images of a row within this call; None says that no row comes twice. An answer of several
        draws is several passes.
        """
        before = None if rank is None else self.forwards[rows]
        if rows is not self._asked:  # the rows in play are one tensor until some leave
            self.settle()
            self._asked = rows
        self._again, self._back = self._again + self.draws, self._back + backwards * self.draws
        if self.waits and rank is None:
            if self._waiting.full_with(x, verdict):
                self.settle()
            return
        margin = verdict.margin
        over = self._over_already(rows) if self.keep is Keep.FIRST else None
        if over is not None:
            margin = margin.masked_fill(over, -torch.inf)
        if self.keep in (Keep.FIRST, Keep.SMALLEST):
            most = float(margin.amax())
            if most <= self.confidence:
                return  # the usual step: no NaN, nothing won, nothing to write
            if self.keep is Keep.FIRST and rank is None and most < math.inf:
                self._fall(rows, x, margin > self.confidence, over)
                return
        if not bool(verdict.margin.isfinite().all()):
            self.note(self.non_finite, rows, rank is not None, ~verdict.margin.isfinite())
        chosen = (self._candidates(margin, verdict.loss) & ~self.finished[rows]).nonzero().squeeze(1)
        if len(chosen) == 0:
            return
        rows, x, verdict = rows[chosen], x[chosen], Verdict(verdict.margin[chosen], verdict.loss[chosen])
        asked = 1 if rank is None else rank[chosen] + 1
        count = self.forwards[rows] if before is None else before[chosen] + asked * self.draws
        self.changed = True
        self._keep(rows, rank is not None, x, verdict, count)

    def slope(self, rows: IntPerRow, repeated: bool, peak: FloatPerRow) -> None:
        """Write down of `rows` (Q,) how large (Q,) the gradient is at most, and that it is not finite."""
        if not self.waits or repeated:
            self._note_slopes(rows, repeated, peak > 0, peak.isfinite())
        elif not self._waiting.held(rows, peak):
            self.settle()
            self._waiting.held(rows, peak)

    def _note_slopes(self, rows: Tensor, repeated: bool, nonzero_gradient: Tensor, finite: Tensor) -> None:
        self.note(self.nonzero_gradient, rows, repeated, nonzero_gradient)
        self.note(self.non_finite, rows, repeated, ~finite)

    def _write(self, x: Tensor, margin: Tensor, loss: Tensor) -> None:
        """Write k answers to each row asked last, x (k, Q, ...), margin and loss (k, Q), without a look at them."""
        rows, (k, q) = self._asked, x.shape[:2]
        flat = x.flatten(0, 1)
        delta = (x - self.x[rows]).flatten(0, 1)
        may, won = self._candidates(margin, loss), margin > self.confidence
        may &= self._inside(flat, delta, rows.repeat(k)).view(k, q) & ~self.finished[rows]
        falls = may & won
        fell = falls.any(0)
        value = self._value(delta, Verdict(margin.flatten(), loss.flatten())).view(k, q)
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
        self.non_finite[rows] |= ~margin.isfinite().all(0)
        self.changed = True

    def _candidates(self, margin: Tensor, loss: Tensor) -> Tensor:
        """(Q,) bool: the images that may be kept."""
        if self.keep is Keep.HIGHEST_LOSS:
            return ~loss.isnan()
        return ~margin.isnan() if self.keep is Keep.HIGHEST_MARGIN else margin > self.confidence

    def _fall(self, asked: Tensor, x: Tensor, fallen: Tensor, over: Tensor | None) -> None:
        """Keep the first winner of each row of the mask `fallen` (Q,), no row twice; `over` (Q,) were it before."""
        chosen = fallen.nonzero().squeeze(1)
        rows, x = asked[chosen], x[chosen]
        delta = x - self.x[rows]
        if not self._all_inside(x, delta):
            inside = self._inside(x, delta, rows)
            chosen, rows, x = chosen[inside], rows[inside], x[inside]
        self.best[rows], self.won[rows], self.queries_to_success[rows] = x, True, self.passes[0][rows].add_(self._again)
        over = torch.zeros_like(fallen) if over is None else over
        self.changed, self._over = True, (asked, over.index_fill_(0, chosen, True))

    def _all_inside(self, x: Tensor, delta: Tensor) -> bool:
        """`_inside` of all, with two looks; False also where it takes a closer one."""
        region = self.region
        if region.free is not None or isinstance(region.low, Tensor) or isinstance(region.radius, Tensor):
            return False
        low, high = x.aminmax()
        fits = float(low) >= region.low - TOLERANCE and float(high) <= region.high + TOLERANCE
        return bool(fits and (math.isinf(region.radius) or region.norm(delta).amax() <= self._reach))

    @cached_property
    def _reach(self) -> Tensor | float:
        """The radius, one for all or (N,), and what rounding may add to it."""
        radius = self.region.radius
        return radius + TOLERANCE * (radius.clamp_min(1) if isinstance(radius, Tensor) else max(1.0, radius))

    def _over_already(self, rows: Tensor) -> Tensor | None:
        """(Q,) bool: which of the rows are won or finished; None: none of them is."""
        if self._over is None or self._over[0] is not rows:
            over = (self.won | self.finished)[rows]
            self._over = rows, over if bool(over.any()) else None
        return self._over[1]

    def finish(self, rows: Tensor, done: Tensor) -> None:
        """Close those of `rows` (Q,), no row twice, where `done`."""
        self.settle()
        self.finished[rows] |= done
        self._over = None

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
        """flags[rows] |= true, also where a row comes several times."""
        if repeated:
            flags[rows[true]] = True
        else:
            flags[rows] |= true

    def _keep(self, rows: Tensor, repeated: bool, x: Tensor, verdict: Verdict, count: Tensor) -> None:
        """Those of the images x (Q, ...) that are better than what the row has."""
        delta, won = x - self.x[rows], verdict.margin > self.confidence
        inside, value = self._inside(x, delta, rows), self._value(delta, verdict)
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
        self._over = None

    def _value(self, delta: Tensor, verdict: Verdict) -> Tensor:
        if self.keep is Keep.SMALLEST:
            return -self.measure(delta)
        if self.keep is Keep.HIGHEST_MARGIN:
            return verdict.margin.to(delta.dtype)
        return verdict.loss.to(delta.dtype) if self.keep is Keep.HIGHEST_LOSS else delta.new_zeros(len(delta))


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
