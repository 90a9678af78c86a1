"""Branch and bound over neurons with beta-CROWN (Wang et al. 2021, arXiv:2103.06624), for one input and one proof.

A domain is the region together with bounds that some neurons are confined to. Splitting a neuron, at the kink of its
activation or in the middle of its interval, gives two domains that cover the first. Each of their constraints
s (z - v) >= 0 enters the bound with a multiplier beta >= 0, as -beta s (z - v), and Adam ascends slopes and multipliers
together. A domain whose bound is positive is proven; where all are, so is the input. The minimizers of the bounds are
candidates for counterexamples. In a network of piecewise linear activations a domain without a neuron left to split is
a linear program, which is solved.

What to split is chosen as in filtered smart branching (De Palma et al. 2021, arXiv:2104.06718): neurons are ranked by
what their relaxation costs, and the children of the first few are bounded, without optimisation.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from ...rows import join, take
from .ascent import Precisions, Rows, Variables, ascend, evaluate, first_variables
from .leaves import solve_leaf
from .reduced import Relaxation
from .tightening import tighten

WORTH = 4.0  # times the seconds that tightening takes, which splitting must exceed
BETWEEN = 3  # splits after which a domain may be tightened again
ROUNDING = 1e-4  # by which a bound in single precision exceeds what is to be proven before the ascent ends


@dataclass(frozen=True)
class BranchAndBound:
    """How domains are bounded and split.

    Args:
        steps: of Adam on slopes and multipliers of each domain.
        learning_rate: of slopes and multipliers; multipliers are in units of the margin over those of the neuron.
        decay: of the learning rate, per step.
        candidates: neurons whose children are bounded before one is split.
        tightened: neurons that are bounded anew where a domain would need many splits.
        batch_size: domains bounded at once, at most.
        memory: MB for the reduced network, as much for the domains that wait, and as much for those being bounded.
    """

    steps: int = 5
    learning_rate: float = 0.3
    decay: float = 0.95
    candidates: int = 3
    tightened: int = 64
    batch_size: int = 64
    memory: float = 512.0


@dataclass(frozen=True)
class Domains:
    """Some domains, one a row.

    Args:
        low, high: (D, N) the bounds of all neurons.
        lower, upper: (D, M) slopes of the units' lines.
        multipliers: (D, 2, N) of the constraints z >= low and z <= high.
        shares: (D, F) logits of the functions' shares.
        bound: (D,) the lower bound of what is to be proven.
        parent_bound: (D,) that of the domain that was split.
        splits: (D,) int64, since neurons were tightened.
    """

    low: Tensor
    high: Tensor
    lower: Tensor
    upper: Tensor
    multipliers: Tensor
    shares: Tensor
    bound: Tensor
    parent_bound: Tensor
    splits: Tensor

    def __len__(self) -> int:
        return len(self.bound)

    @property
    def variables(self) -> Variables:
        """What the bounds depend on."""
        return Variables(self.lower, self.upper, self.multipliers, self.shares)


@dataclass(frozen=True)
class SearchResult:
    """What branch and bound found for one input.

    Args:
        bound: a lower bound of the margin that holds.
        example: (...) an input at which the attack succeeds; None: none was found.
        domains: how many were bounded.
    """

    bound: float
    example: Tensor | None
    domains: int


Judge = Callable[[Tensor], Tensor]  # inputs (N, ...) -> (N,) bool, whether the attack succeeds there


class DomainSearch:
    """Branch and bound for one input and functions of which one has to be positive.

    Args:
        networks: the reduced network.
        low, high: (1, N) bounds of its neurons, where no function exceeds `limit`.
        shares: (1, F) logits of the functions' shares; -inf: not one of these functions.
        settings: how.
        slack, limit: a bound above `slack` is a proof; `limit` exceeds it.
        judge: tells whether an input is a counterexample.
    """

    def __init__(
        self,
        networks: Precisions,
        low: Tensor,
        high: Tensor,
        shares: Tensor,
        settings: BranchAndBound,
        slack: float,
        limit: float,
        judge: Judge,
    ) -> None:
        self.networks, self.low, self.high, self.shares = networks, low, high, shares
        self.settings, self.slack, self.limit, self.judge = settings, slack, limit, judge
        self.domains = 0
        self.seconds = [0.0, 0.0]  # that bounding and tightening a domain takes
        self.gain: Tensor | None = None  # of the bound, by a split
        n, units = networks.fine.neurons, networks.fine.units
        held = 16 * n + 8 * units + 8 * n
        self.most_waiting = max(settings.batch_size, int(settings.memory * 2**20 / held))
        used = 4 * 20 * (units + n + networks.fine.inputs.x.numel())
        self.batch_size = max(1, min(settings.batch_size, int(settings.memory * 2**20 / used)))

    # bounds

    def root(self, bound: float) -> Domains:
        """Return the domain to begin with."""
        start = first_variables(self.networks.fine, self.low, self.high, self.shares)
        multipliers = start.lower.new_zeros(1, 2, self.networks.fine.neurons)
        known = self.low.new_full((1,), bound)
        splits = torch.zeros(1, dtype=torch.int64, device=known.device)
        return Domains(self.low, self.high, start.lower, start.upper, multipliers, start.shares, known, known, splits)

    def rows(self, domains: Domains) -> Rows:
        """Return what is bounded."""
        return Rows(domains.low, domains.high, self.networks.fine.narrowed(domains.low, domains.high))

    def optimize(self, domains: Domains, stop: float) -> tuple[Domains, Tensor]:
        """Return the domains with better slopes and multipliers, and a candidate (D, ...) for a counterexample."""
        settings = self.settings
        found = ascend(
            self.networks,
            self.rows(domains),
            domains.variables,
            steps=settings.steps,
            learning_rate=settings.learning_rate,
            decay=settings.decay,
            enough=self.slack + ROUNDING,
            stop=stop,
        )
        v = found.variables
        assert v.multipliers is not None
        bound = torch.maximum(found.least, domains.bound)
        given = {"lower": v.lower, "upper": v.upper, "multipliers": v.multipliers, "shares": v.shares, "bound": bound}
        return replace(domains, **given), found.points

    def tightened(self, domains: Domains, stop: float) -> tuple[Domains, Tensor]:
        """Return the domains, each with narrower bounds of the neurons whose relaxations cost most, and candidates."""
        costs, _ = self.costs(domains)
        count = min(self.settings.tightened, costs.shape[1])
        chosen = torch.zeros_like(costs, dtype=torch.bool).scatter(1, costs.topk(count, dim=1).indices, True)
        lows, highs = [], []
        for row in range(len(domains)):
            one = take(domains, torch.tensor([row], device=costs.device))
            low, high = tighten(
                self.networks, one.low, one.high, one.variables, chosen[row],
                limit=self.limit, memory=self.settings.memory, stop=stop,
            )  # fmt: skip
            lows.append(low)
            highs.append(high)
        splits = torch.zeros_like(domains.splits)
        return self.optimize(replace(domains, low=torch.cat(lows), high=torch.cat(highs), splits=splits), stop)

    # splits

    @torch.no_grad()
    def costs(self, domains: Domains) -> tuple[Tensor, Tensor]:
        """Return (D, N) what the relaxation of each neuron costs at its branch point, and those points."""
        coarse = self.networks.coarse
        seen: dict[int, Tensor] = {}
        rows = self.rows(domains).to(torch.float32)
        evaluate(coarse, rows, domains.variables, seen)
        given = Relaxation(rows.low, rows.high, domains.lower, domains.upper)
        costs, points = torch.zeros_like(rows.low), torch.zeros_like(domains.low)
        for layer in coarse.layers:
            part = layer.neurons
            low, high = rows.low[:, part], rows.high[:, part]
            for number, (activation, units) in enumerate(layer.units):
                point = activation.branch_point(low, high)
                points[:, part] = activation.branch_point(domains.low[:, part], domains.high[:, part])
                lines = coarse.lines(layer, number, given)
                a = seen[units.start]
                above = lines.upper_slope * point + lines.upper_intercept - activation(point)
                ends = torch.minimum(
                    activation(low) - lines.lower_slope * low - lines.lower_intercept,
                    activation(high) - lines.lower_slope * high - lines.lower_intercept,
                )
                below = activation(point) - lines.lower_slope * point - lines.lower_intercept
                below = torch.maximum(below, ends / 2)
                costs[:, part] += (-a).clamp(min=0) * above + a.clamp(min=0) * below
        return costs, points

    @torch.no_grad()
    def split(self, domains: Domains) -> Domains:
        """Return the children of each domain, two for each, after one another."""
        costs, points = self.costs(domains)
        costs = costs.masked_fill(~self.networks.fine.crossing(domains.low, domains.high), -1.0)
        count = min(self.settings.candidates, costs.shape[1])
        score, tried = costs.topk(count, dim=1)
        best = torch.full_like(score[:, 0], -torch.inf)
        chosen = tried[:, 0]
        for rank in range(count if count > 1 else 0):
            children = self.children(domains, tried[:, rank], points)
            least = evaluate(self.networks.coarse, self.rows(children).to(torch.float32), children.variables).least
            bounds = least.view(2, -1).clamp(max=self.slack + ROUNDING).sort(0).values
            value = bounds[0] + 1e-3 * bounds[1]
            value = value.masked_fill(score[:, rank] < 0, -torch.inf)
            better = value > best
            best, chosen = torch.where(better, value, best), torch.where(better, tried[:, rank], chosen)
        return self.children(domains, chosen, points)

    def children(self, domains: Domains, neuron: Tensor, points: Tensor) -> Domains:
        """Return both children (2 D) of a split at one neuron (D,) of each: those above the point, then those below."""
        index = neuron[:, None]
        point = points.gather(1, index)
        domains = replace(domains, parent_bound=domains.bound, splits=domains.splits + 1)
        upper = replace(domains, low=domains.low.scatter(1, index, point))
        lower = replace(domains, high=domains.high.scatter(1, index, point))
        both = Domains(*(torch.cat((getattr(upper, one.name), getattr(lower, one.name))) for one in fields(Domains)))
        return self._with_own_slopes(both, torch.cat((neuron, neuron)))

    def _with_own_slopes(self, domains: Domains, neuron: Tensor) -> Domains:
        """The domains with new slopes where a neuron (D,) has new bounds."""
        lower, upper = domains.lower.clone(), domains.upper.clone()
        for layer in self.networks.fine.layers:
            part = layer.neurons
            rows = ((neuron >= part.start) & (neuron < part.stop)).nonzero().squeeze(1)
            at = neuron[rows]
            for activation, units in layer.units:
                slopes = activation.slopes(domains.low[rows, at], domains.high[rows, at])
                lower[rows, at - part.start + units.start] = slopes.lower.float()
                upper[rows, at - part.start + units.start] = slopes.upper.float()
        return replace(domains, lower=lower, upper=upper)

    # the search

    def run(self, bound: float, stop: float) -> SearchResult:
        """Search until all is proven, a counterexample is found, or the clock (time.monotonic) shows `stop`.

        `bound` is a lower bound that is known.
        """
        waiting = self.root(bound)
        least = self.limit  # of what is decided; beyond the limit nothing is known
        while len(waiting) and time.monotonic() < stop and len(waiting) <= 2 * self.most_waiting:
            order = waiting.bound.argsort(descending=len(waiting) > self.most_waiting)
            now, waiting = take(waiting, order[: self.batch_size]), take(waiting, order[self.batch_size :])
            splittable = self.networks.fine.crossing(now.low, now.high).any(1)
            if not bool(splittable.all()):
                found, example = self._leaves(take(now, ~splittable))
                if example is not None:
                    return SearchResult(-torch.inf, example, self.domains)
                least = min([least, *found])
                now = take(now, splittable)
                if not len(now):
                    continue
            now, example = self._step(now, stop)
            if example is not None:
                return SearchResult(-torch.inf, example, self.domains)
            proven = now.bound > self.slack
            if bool(proven.any()):
                least = min(least, float(now.bound[proven].amin()))
            now = take(now, ~proven)
            waiting = join([waiting, now]) if len(now) else waiting
        if len(waiting):
            least = min(least, float(waiting.bound.amin()))
        return SearchResult(least, None, self.domains)

    def _step(self, domains: Domains, stop: float) -> tuple[Domains, Tensor | None]:
        """Split domains, and bound their children; also a counterexample if one is found.

        Where a child would need so many splits that tightening its neurons' bounds costs less, this is done.
        """
        began = time.monotonic()
        children, points = self.optimize(self.split(domains), stop)
        self.domains += len(children)
        self._spent(0, began, len(children))
        hit = self.judge(points)
        if bool(hit.any()):
            return children, points[hit][0]
        gain = (children.bound - children.parent_bound).clamp(max=self.slack + ROUNDING - children.parent_bound)
        self.gain = gain.mean() if self.gain is None else 0.7 * self.gain + 0.3 * gain.mean()
        missing = (self.slack - children.bound) / self.gain.clamp(min=1e-9)  # splits one after another
        subtree = self.seconds[0] * torch.exp2(missing.clamp(max=30))
        dear = (subtree > WORTH * self.seconds[1]) & (children.splits >= BETWEEN) & ~(children.bound > self.slack)
        if not bool(dear.any()) or not self.settings.tightened:
            return children, None
        began = time.monotonic()
        narrower, points = self.tightened(take(children, dear), stop)
        self._spent(1, began, len(narrower))
        hit = self.judge(points)
        return join([take(children, ~dear), narrower]), points[hit][0] if bool(hit.any()) else None

    def _spent(self, kind: int, began: float, count: int) -> None:
        """Take into account what bounding (0) or tightening (1) so many domains took."""
        each = (time.monotonic() - began) / count
        self.seconds[kind] = each if self.seconds[kind] == 0 else 0.7 * self.seconds[kind] + 0.3 * each

    def _leaves(self, leaves: Domains) -> tuple[list[float], Tensor | None]:
        """Bounds of domains without a neuron to split, and a counterexample if one is found."""
        bounds = []
        for row in range(len(leaves)):
            one = take(leaves, torch.tensor([row], device=leaves.bound.device))
            if not self.networks.fine.pieces:
                bounds.append(float(one.bound))
                continue
            solved = solve_leaf(self.networks.fine, one.low, one.high, self.shares[0] > -torch.inf)
            self.domains += 1
            if bool(self.judge(solved.point)[0]):
                return bounds, solved.point[0]
            bounds.append(max(solved.bound, float(one.bound)))
        return bounds, None
