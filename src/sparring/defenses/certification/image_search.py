"""alpha-CROWN, tightening, and branch and bound on one image: as far as the time goes."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from .ascent import Ascended, Precisions, Rows, ascend, first_variables
from .branch_and_bound import ROUNDING, BranchAndBound, DomainSearch, Judge, SearchResult
from .concretize import InputSet
from .graph import Network, Weights
from .intervals import Interval
from .linear_bounds import portion, relaxed_intervals
from .optimized_slopes import SlopeSearch
from .pairwise import pairwise_maxima
from .reduced import ReducedNetwork, reduce
from .specifications import Specification
from .tightening import tighten

ALIVE = 20  # numbers that a row of an ascent holds for each unit and input
SWEEPS = 5  # of tightening, at most
GAIN = 0.1  # share of what is missing that a sweep must gain for another one
SHARE = 0.2  # of the time that is left, after which no further sweep begins
LONGEST = 0.5  # of that time, after which a sweep ends where it is
FAVOUR = 4.0  # of the function whose bound is best, in logits, where one suffices


@dataclass
class ImageSearch:
    """One image.

    Args:
        networks: the network in its region; all of its bounds hold everywhere in it.
        wanted: what is to be proven, of one row.
        search, branching: how.
        slack: a bound above it is a proof.
        stop: when the clock (time.monotonic) shows it, what is known is returned.
        judge: tells whether an input is a counterexample.
    """

    networks: Precisions
    wanted: Specification
    search: SlopeSearch
    branching: BranchAndBound
    slack: float
    memory: float
    stop: float
    judge: Judge

    def __post_init__(self) -> None:
        fine = self.networks.fine
        self.low, self.high = fine.low[None], fine.high[None]
        count = self.wanted.functions.shape[1]
        self.lower = fine.low.new_full((count,), -math.inf)  # of each function

    @classmethod
    def reduced(
        cls,
        network: Network,
        weights: Weights,
        inputs: InputSet,
        intervals: list[Interval],
        wanted: Specification,
        branching: BranchAndBound,
        memory: float,
        stop: float,
    ) -> ReducedNetwork | None:
        """Return the reduced network; None where it does not fit into memory, or time is up."""
        pairs, numbers = pairwise_maxima(network)
        if pairs is not network:
            held = intervals
            intervals = relaxed_intervals(pairs, weights, inputs, memory=memory, stop=stop)
            for number, place in numbers.items():
                intervals[place] = intervals[place].within(held[number])
        if time.monotonic() > stop:
            return None
        count = portion(pairs, inputs, memory)
        return reduce(pairs, weights, inputs, intervals, wanted.functions[0], branching.memory, count, stop)

    @property
    def margin(self) -> float:
        """The bound that is known."""
        return float(self.wanted.margin(self.lower[None]))

    def optimized(self) -> float:
        """Bound all functions with the slopes optimised for each."""
        count, fine = len(self.lower), self.networks.fine
        shares = torch.full((count, count), -math.inf, device=self.low.device).fill_diagonal_(0.0)
        per_row = 4 * ALIVE * (fine.units + fine.matrix.shape[1])
        parts = torch.split(shares, max(1, int(self.memory * 2**20 / per_row)))
        least = torch.cat([self._ascended(self.low, self.high, part).least for part in parts])
        self.lower = torch.maximum(self.lower, least)
        return self.margin

    def _ascended(self, low: Tensor, high: Tensor, shares: Tensor) -> Ascended:
        start, search = first_variables(self.networks.fine, low, high, shares), self.search
        given = search.steps, search.learning_rate, search.decay
        enough = self.slack + ROUNDING
        return ascend(self.networks, Rows(low, high), start, *given, enough=enough, stop=self.stop)

    def tightened(self) -> float:
        """Narrow the neurons' bounds by slopes optimised for each, then bound the functions again."""
        shares = torch.zeros(1, len(self.lower), device=self.low.device)
        self.low, self.high = self._tightened(self.low, self.high, shares, None, self._part(LONGEST))
        low, high = self.low[0], self.high[0]
        self.networks = Precisions(*(one.within(low, high) for one in self.networks))
        return self.optimized()

    def _tightened(
        self, low: Tensor, high: Tensor, shares: Tensor, limit: float | None, stop: float
    ) -> tuple[Tensor, Tensor]:
        start = first_variables(self.networks.fine, low, high, shares)
        everything = torch.ones_like(low[0], dtype=torch.bool)
        given = self.networks, low, high, start, everything
        return tighten(*given, limit=limit, memory=self.memory, stop=stop)

    def _part(self, share: float) -> float:
        """Return what the clock shows when this share of the time that is left has gone."""
        now = time.monotonic()
        return now + share * (self.stop - now)

    def searched(self) -> SearchResult:
        """Prove one function after another, the hardest first, or all together where one suffices."""
        count = len(self.lower)
        if not self.wanted.every:
            shares = torch.full((1, count), -FAVOUR, device=self.low.device)
            shares[0, self.lower.argmax()] = 0.0
            return self._proof(shares, float(self.lower.amax()))
        least, domains = math.inf, 0
        for function in self.lower.argsort().tolist():
            bound = float(self.lower[function])
            if not bound > self.slack:
                shares = torch.full((1, count), -math.inf, device=self.low.device)
                shares[0, function] = 0.0
                found = self._proof(shares, bound)
                domains += found.domains
                if found.example is not None:
                    return SearchResult(-math.inf, found.example, domains)
                bound = max(bound, found.bound)
            least = min(least, bound)
        return SearchResult(least, None, domains)

    def _proof(self, shares: Tensor, bound: float) -> SearchResult:
        """Tighten where no function exceeds a limit, then search."""
        limit, late, longest = 2 * self.slack + 1e-3, self._part(SHARE), self._part(LONGEST)
        low, high = self.low, self.high
        for _ in range(SWEEPS):
            before = bound
            low, high = self._tightened(low, high, shares, limit, longest)
            found = self._ascended(low, high, shares)
            bound = max(bound, min(float(found.least), limit))
            if bool(self.judge(found.points)[0]):
                return SearchResult(-math.inf, found.points[0], 0)
            if bound > self.slack or time.monotonic() > late or not bound - before > GAIN * (self.slack - before):
                break
        if bound > self.slack:
            return SearchResult(bound, None, 0)
        searching = DomainSearch(self.networks, low, high, shares, self.branching, self.slack, limit, self.judge)
        return searching.run(bound, self.stop)
