"""Branch and bound over activations with beta-CROWN (Wang et al. 2021, arXiv:2103.06624), for one input.

A domain is the region together with bounds that some neurons' inputs are confined to. Splitting a neuron, at the kink
of its activation or in the middle of its interval, gives two domains that cover the first. Each of their constraints
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
from .activations import Activation, Slopes
from .concretize import InputSet
from .graph import Network, Weights
from .intervals import Interval
from .leaves import solve_leaf
from .linear_bounds import COPIES, Relaxed
SplitTerm = tuple
from .optimized_slopes import clamp_slopes_
from .specifications import Specification


@dataclass(frozen=True)
class BranchAndBound:
    """How domains are bounded and split.

    Args:
        steps: of Adam on slopes and multipliers of each domain.
        learning_rate: of slopes and multipliers; multipliers are in units of the margin over those of the neuron.
        decay: of the learning rate, per step.
        candidates: neurons whose children are bounded before one is split.
        batch_size: domains bounded at once, at most.
        memory: MB for the domains that wait, and as much for those being bounded.
    """

    steps: int = 20
    learning_rate: float = 0.1
    decay: float = 0.95
    candidates: int = 3
    batch_size: int = 64
    memory: float = 512.0


@dataclass(frozen=True)
class Domains:
    """Some domains, one a row.

    Args:
        low, high: (D, N) the bounds of all neurons that may be split.
        lower_slopes, upper_slopes: (D, M) those of their activations.
        multipliers: (D, 2, N) of the constraints z >= low and z <= high.
        functions: (D, S) int64, which functions of the specification are bounded.
        bound: (D,) the lower bound of what is to be proven.
    """

    low: Tensor
    high: Tensor
    lower_slopes: Tensor
    upper_slopes: Tensor
    multipliers: Tensor
    functions: Tensor
    bound: Tensor

    def __len__(self) -> int:
        return len(self.bound)


@dataclass(frozen=True)
class SearchResult:
    """What branch and bound found for one input.

    Args:
        bound: a lower bound of the margin that holds.
        example: (...) an input at which the attack succeeds; None: none was found.
        domains: how many were bounded.
        complete: no domain is left that could be split: without it, time or memory ran out.
    """

    bound: float
    example: Tensor | None
    domains: int
    complete: bool


Judge = Callable[[Tensor], Tensor]  # inputs (N, ...) -> (N,) bool, whether the attack succeeds there


class DomainSearch:
    """Branch and bound for one input.

    Args:
        network, weights, inputs: as for bounds, with one input.
        intervals: of all nodes, at the root.
        slopes: (1, 1 or S, ...) for each activation, to begin with.
        wanted: what is to be proven.
        settings: how.
        slack: a bound above it is a proof.
        judge: tells whether an input is a counterexample.
    """

    def __init__(
        self,
        network: Network,
        weights: Weights,
        inputs: InputSet,
        intervals: list[Interval],
        slopes: dict[int, Slopes],
        wanted: Specification,
        settings: BranchAndBound,
        slack: float,
        judge: Judge,
    ) -> None:
        self.network, self.weights, self.inputs, self.intervals = network, weights, inputs, intervals
        self.wanted, self.settings, self.slack, self.judge = wanted, settings, slack, judge
        self.activations = [k for k, node in enumerate(network.nodes) if isinstance(node.operation, Activation)]
        self.places = {number: self._crossing(number) for number in network.bounded}  # neurons that may be split
        self.offsets, count = {}, 0
        for number, places in self.places.items():
            self.offsets[number] = slice(count, count + len(places))
            count += len(places)
        self.count = count
        self.slope_offsets, total = {}, 0
        for number in self.activations:
            width = len(self.places[network.nodes[number].operands[0]])
            self.slope_offsets[number] = slice(total, total + width)
            total += width
        self.root_low = self._gathered([self.intervals[one].low for one in self.places])
        self.root_high = self._gathered([self.intervals[one].high for one in self.places])
        self.start_slopes = slopes
        self.solvable = all(
            node.affine or (isinstance(node.operation, Activation) and node.operation.pieces)
            for node in network.nodes[1:]
        )
        self.domains = 0
        sizes = sum(torch.Size(node.shape).numel() for node in network.nodes)
        per_domain = 8 * COPIES * sizes * (1 if wanted.every else wanted.functions.shape[1])
        self.batch_size = max(1, min(settings.batch_size, int(settings.memory * 2**20 / per_domain)))
        self.most_waiting = max(self.batch_size, int(settings.memory * 2**20 / (8 * max(1, 4 * count + 2 * total))))

    # the state of domains

    def _crossing(self, number: int) -> Tensor:
        """The components (n,) of a node that some activation is not linear in at the root."""
        low, high = self.intervals[number]
        wanted = torch.zeros_like(low, dtype=torch.bool)
        for node in self.network.nodes:
            if number in node.operands and isinstance(node.operation, Activation):
                wanted = wanted | node.operation.crosses(low, high)
        return wanted.flatten().nonzero().squeeze(1)

    def _gathered(self, dense: list[Tensor]) -> Tensor:
        """The values (D, N) of the neurons that may be split, from those of whole nodes (D, ...)."""
        parts = [one.flatten(1)[:, places] for one, places in zip(dense, self.places.values(), strict=True)]
        return torch.cat(parts, 1) if parts else self.inputs.x.new_zeros(1, 0)

    def roots(self, bound: Tensor, open_functions: Tensor) -> Domains:
        """Return the domains to begin with: one for each function that is not proven yet, or one for all of them."""
        chosen = open_functions.nonzero() if self.wanted.every else torch.arange(len(bound))[None]
        count = len(chosen)
        lower, upper = (self._root_slopes(side, chosen) for side in (0, 1))
        best = bound[chosen[:, 0]] if self.wanted.every else bound.amax()[None]
        return Domains(
            self.root_low.expand(count, -1),
            self.root_high.expand(count, -1),
            lower,
            upper,
            self.root_low.new_zeros(count, 2, self.count),
            chosen.to(bound.device),
            best,
        )

    def _root_slopes(self, side: int, chosen: Tensor) -> Tensor:
        """The slopes (D, M) that the functions have been bounded with."""
        parts = []
        for number in self.activations:
            places = self.places[self.network.nodes[number].operands[0]]
            slopes = self.start_slopes[number][side].flatten(2)[0]
            slopes = slopes.expand(max(len(slopes), int(chosen.max()) + 1), -1)
            parts.append(slopes[chosen[:, 0]][:, places])
        return torch.cat(parts, 1) if parts else self.root_low.new_zeros(len(chosen), 0)

    def _dense(self, values: Tensor, number: int, like: Tensor) -> Tensor:
        """The values (D, n) of a node's neurons that may be split in the place of those of the root (1, ...)."""
        whole = like.flatten(1).expand(len(values), -1).clone()
        whole[:, self.places[number]] = values
        return whole.view(len(values), *like.shape[1:])

    def relaxed(self, domains: Domains) -> Relaxed:
        """Return the relaxed network of each domain, with the terms of the constraints."""
        intervals: dict[int, Interval] = {}
        splits: dict[int, tuple] = {}
        for number in self.places:
            part, root = self.offsets[number], self.intervals[number]
            low, high = domains.low[:, part], domains.high[:, part]
            intervals[number] = Interval(self._dense(low, number, root.low), self._dense(high, number, root.high))
            above, below = self._multipliers(domains, number)
            if part.start < part.stop:
                coefficients = self._dense(below - above, number, torch.zeros_like(root.low))
                offset = (above * low - below * high).sum(1, keepdim=True)
                splits[number] = (coefficients[:, None], offset)
        slopes: dict[int, Slopes] = {}
        for number in self.activations:
            operand, part = self.network.nodes[number].operands[0], self.slope_offsets[number]
            pairs = []
            for side, values in enumerate((domains.lower_slopes, domains.upper_slopes)):
                root_slopes = self.start_slopes[number][side][:1, 0]
                pairs.append(self._dense(values[:, part], operand, root_slopes)[:, None])
            slopes[number] = Slopes(*pairs)
        rows = torch.zeros(len(domains), dtype=torch.long, device=self.inputs.x.device)
        return Relaxed(self.network, self.weights, self.inputs.take(rows), intervals, slopes, splits)

    def _multipliers(self, domains: Domains, number: int) -> tuple[Tensor, Tensor]:
        """Those of z >= low and z <= high of a node's neurons (D, n), 0 where there is no such constraint."""
        part = self.offsets[number]
        above = domains.multipliers[:, 0, part] * (domains.low[:, part] > self.root_low[:, part])
        below = domains.multipliers[:, 1, part] * (domains.high[:, part] < self.root_high[:, part])
        return above, below

    def functions(self, domains: Domains) -> Tensor:
        """Return the functions (D, S, K) that are bounded in each domain."""
        return self.wanted.functions[0][domains.functions]

    # bounds

    def optimize(self, domains: Domains) -> tuple[Domains, Tensor]:
        """Return the domains with better slopes and multipliers, and a candidate (D, ...) for a counterexample."""
        best, points = domains, None
        values = [one.detach().clone().requires_grad_() for one in (
            domains.lower_slopes, domains.upper_slopes, domains.multipliers)]  # fmt: skip
        optimizer = torch.optim.Adam(values, lr=self.settings.learning_rate)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, self.settings.decay)
        functions = self.functions(domains)
        for step in range(self.settings.steps + 1):
            tried = replace(domains, lower_slopes=values[0], upper_slopes=values[1], multipliers=values[2])
            with torch.enable_grad():
                found = self.relaxed(tried).bound(len(self.network) - 1, functions)
                margin = found.least.amax(1)
                loss = -margin.sum()
            best, points = self._better(best, tried, margin.detach(), found.coefficients, found.least, points)
            done = best.bound > self.slack
            if step == self.settings.steps or bool(done.all()):
                break
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                values[2].clamp_(min=0)
                self._clamp_slopes(values[0])
        assert points is not None
        return best, points

    def _clamp_slopes(self, lower: Tensor) -> None:
        for number in self.activations:
            relaxed = Relaxed(self.network, self.weights, self.inputs, {}, {})
            part = lower[:, self.slope_offsets[number]]
            clamp_slopes_(relaxed, number, Slopes(part, part))

    def _better(
        self, best: Domains, tried: Domains, margin: Tensor, coefficients: Tensor, least: Tensor, points: Tensor | None
    ) -> tuple[Domains, Tensor]:
        """Keep, for each domain, the better of both and the minimizer that belongs to it."""
        rows = torch.zeros(len(best), dtype=torch.long, device=margin.device)
        chosen = least.detach().argmax(1)
        own = coefficients.detach()[torch.arange(len(best)), chosen][:, None]
        found = self.inputs.take(rows).minimizer(own)[:, 0]
        improved = (margin > best.bound) if points is not None else torch.ones_like(margin, dtype=torch.bool)

        def kept(new: Tensor, old: Tensor) -> Tensor:
            return torch.where(improved.view(-1, *[1] * (new.ndim - 1)), new.detach(), old)

        if points is not None:
            found = kept(found, points)
        better = replace(
            best,
            lower_slopes=kept(tried.lower_slopes, best.lower_slopes),
            upper_slopes=kept(tried.upper_slopes, best.upper_slopes),
            multipliers=kept(tried.multipliers, best.multipliers),
            bound=torch.maximum(margin, best.bound),
        )
        return better, found

    @torch.no_grad()
    def bounds(self, domains: Domains) -> Tensor:
        """Return the bounds (D,) with slopes and multipliers as they are."""
        least = self.relaxed(domains).bound(len(self.network) - 1, self.functions(domains)).least
        return least.amax(1)

    # splits

    def crossing(self, domains: Domains) -> Tensor:
        """Tell (D, N) which neurons can be split."""
        parts = []
        for number, part in self.offsets.items():
            low, high = domains.low[:, part], domains.high[:, part]
            crosses = torch.zeros_like(low, dtype=torch.bool)
            for one in self.activations:
                if self.network.nodes[one].operands[0] == number:
                    operation = self.network.nodes[one].operation
                    assert isinstance(operation, Activation)
                    found = operation.crosses(low, high)
                    if not operation.pieces:  # an interval this small is a point to rounding
                        found = found & (high - low > 1e-6 * (1 + low.abs() + high.abs()))
                    crosses = crosses | found
            parts.append(crosses)
        return torch.cat(parts, 1) if parts else domains.low.new_zeros(len(domains), 0, dtype=torch.bool)

    @torch.no_grad()
    def costs(self, domains: Domains) -> tuple[Tensor, Tensor]:
        """Return (D, N) what the relaxation of each neuron costs at its branch point, and those points."""
        relaxed = self.relaxed(domains)
        seen: dict[int, Tensor] = {}
        found = relaxed.bound(len(self.network) - 1, self.functions(domains), seen)
        chosen = found.least.argmax(1)
        costs, points = torch.zeros_like(domains.low), torch.zeros_like(domains.low)
        for number in self.activations:
            operation, operand = self.network.nodes[number].operation, self.network.nodes[number].operands[0]
            assert isinstance(operation, Activation)
            part, places = self.offsets[operand], self.places[operand]
            low, high = domains.low[:, part], domains.high[:, part]
            point = operation.branch_point(low, high)
            points[:, part] = point
            if number not in seen:
                continue
            lines = relaxed.lines(number)
            lower_slope, lower_intercept, upper_slope, upper_intercept = (
                one.expand(len(domains), 1, *self.network.nodes[operand].shape).flatten(2)[:, 0, places]
                for one in lines
            )
            a = seen[number].flatten(2)[torch.arange(len(domains)), chosen][:, places]
            above = upper_slope * point + upper_intercept - operation(point)
            ends = torch.minimum(
                operation(low) - lower_slope * low - lower_intercept,
                operation(high) - lower_slope * high - lower_intercept,
            )
            below = torch.maximum(operation(point) - lower_slope * point - lower_intercept, ends / 2)
            costs[:, part] += (-a).clamp(min=0) * above + a.clamp(min=0) * below
        return costs, points

    @torch.no_grad()
    def split(self, domains: Domains) -> Domains:
        """Return the children of each domain, two for each, after one another."""
        costs, points = self.costs(domains)
        costs = costs.masked_fill(~self.crossing(domains), -1.0)
        count = min(self.settings.candidates, self.count)
        score, tried = costs.topk(count, dim=1)
        best = torch.full_like(domains.bound, -torch.inf)
        chosen = tried[:, 0]
        for rank in range(count if count > 1 else 0):
            children = self.children(domains, tried[:, rank], points)
            bounds = self.bounds(children).view(2, -1).clamp(max=self.slack + 1e-9).sort(0).values
            value = bounds[0] + 1e-3 * bounds[1]
            value = value.masked_fill(score[:, rank] < 0, -torch.inf)
            better = value > best
            best, chosen = torch.where(better, value, best), torch.where(better, tried[:, rank], chosen)
        return self.children(domains, chosen, points)

    def children(self, domains: Domains, neuron: Tensor, points: Tensor) -> Domains:
        """Return both children (2 D) of a split at one neuron (D,) of each: those above the point, then those below."""
        index = neuron[:, None]
        point = points.gather(1, index)
        upper = replace(domains, low=domains.low.scatter(1, index, point))
        lower = replace(domains, high=domains.high.scatter(1, index, point))
        both = Domains(*(torch.cat((getattr(upper, one.name), getattr(lower, one.name))) for one in fields(Domains)))
        return self._with_own_slopes(both, torch.cat((neuron, neuron)))

    def _with_own_slopes(self, domains: Domains, neuron: Tensor) -> Domains:
        """The domains with new slopes where a neuron (D,) has new bounds."""
        lower, upper = domains.lower_slopes.clone(), domains.upper_slopes.clone()
        for number in self.activations:
            operation, operand = self.network.nodes[number].operation, self.network.nodes[number].operands[0]
            assert isinstance(operation, Activation)
            part, target = self.offsets[operand], self.slope_offsets[number]
            rows = ((neuron >= part.start) & (neuron < part.stop)).nonzero().squeeze(1)
            at = neuron[rows]
            slopes = operation.slopes(domains.low[rows, at], domains.high[rows, at])
            lower[rows, at - part.start + target.start] = slopes.lower
            upper[rows, at - part.start + target.start] = slopes.upper
        return replace(domains, lower_slopes=lower, upper_slopes=upper)

    # the search

    def run(self, bound: Tensor, timeout: float) -> SearchResult:
        """Search until all is proven, a counterexample is found, or `timeout` seconds are over.

        `bound` (S,) are the lower bounds that are known.
        """
        stop = time.monotonic() + timeout
        proven_bound = float(bound[bound > self.slack].amin()) if bool((bound > self.slack).any()) else torch.inf
        proven_bound = proven_bound if self.wanted.every else torch.inf
        waiting = self.roots(bound, ~(bound > self.slack))
        stuck = torch.inf  # the least bound of a domain that can neither be split nor proven
        while len(waiting) and time.monotonic() < stop and len(waiting) <= self.most_waiting:
            order = waiting.bound.argsort()
            now, waiting = take(waiting, order[: self.batch_size]), take(waiting, order[self.batch_size :])
            splittable = self.crossing(now).any(1)
            if not bool(splittable.all()):
                bounds, example = self._leaves(take(now, ~splittable))
                if example is not None:
                    return SearchResult(-torch.inf, example, self.domains, True)
                stuck = min([stuck, *(one for one in bounds if not one > self.slack)])
                proven_bound = min([proven_bound, *bounds])
                now = take(now, splittable)
                if not len(now):
                    continue
            now, points = self.optimize(self.split(now))
            self.domains += len(now)
            hit = self.judge(points)
            if bool(hit.any()):
                return SearchResult(-torch.inf, points[hit][0], self.domains, True)
            open_rows = ~(now.bound > self.slack)
            if bool((~open_rows).any()):
                proven_bound = min(proven_bound, float(now.bound[~open_rows].amin()))
            now = take(now, open_rows)
            waiting = join([waiting, now]) if len(now) else waiting
        left = float(waiting.bound.amin()) if len(waiting) else torch.inf
        return SearchResult(min(left, proven_bound, stuck), None, self.domains, not len(waiting))

    def _leaves(self, leaves: Domains) -> tuple[list[float], Tensor | None]:
        """Bounds of domains without a neuron to split, and a counterexample if one is found."""
        bounds = []
        for row in range(len(leaves)):
            one = take(leaves, torch.tensor([row], device=leaves.bound.device))
            if not self.solvable:
                bounds.append(float(one.bound))
                continue
            solved = solve_leaf(self.relaxed(one), self.functions(one), self.constraints(one))
            self.domains += 1
            if bool(self.judge(solved.point)[0]):
                return bounds, solved.point[0]
            bounds.append(max(solved.bound, float(one.bound)))
        return bounds, None

    def constraints(self, domain: Domains) -> list[tuple[int, Tensor, Tensor, Tensor]]:
        """Return for each node its split neurons (n,), with signs s and values v (n,) of s (z - v) >= 0."""
        found = []
        for number, part in self.offsets.items():
            low, high = domain.low[0, part], domain.high[0, part]
            above = (low > self.root_low[0, part]).nonzero().squeeze(1)
            below = (high < self.root_high[0, part]).nonzero().squeeze(1)
            places = self.places[number][torch.cat((above, below))]
            signs = torch.cat((torch.ones_like(low[above]), -torch.ones_like(high[below])))
            if len(places):
                found.append((number, places, signs, torch.cat((low[above], high[below]))))
        return found
