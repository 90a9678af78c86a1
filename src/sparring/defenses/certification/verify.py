"""`verify`: for each image a proof, a counterexample, or how much is missing.

First an attack, then bounds from cheap to dear - intervals, CROWN, alpha-CROWN, branch and bound - each only on the
images that the ones before left open. Between CROWN and alpha-CROWN a local search looks for counterexamples once more.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Literal

import torch
from torch import Tensor, nn

from ...access import Jacobians
from ...access.attack import Attack
from ...attacks import Auto
from ...engine import run
from ...errors import ConfigError
from ...geometry import Ball
from ...geometry.region import TOLERANCE, Region
from ...goals import Goal
from ...random import Key
from ...rows import take
from ...targets import Classifier
from .ascent import Precisions
from .branch_and_bound import BranchAndBound
from .certify import checked, row_intervals
from .concretize import InputSet
from .graph import Network, Weights
from .image_search import ImageSearch
from .intervals import Interval, propagate_intervals
from .linear_bounds import COPIES, MEMORY, in_portions, lower_bounds, relax, relaxed_intervals
from .local_search import LocalSearch
from .optimized_slopes import SlopeSearch
from .specifications import specification

SLACK = 1e-5  # by which a proof exceeds 0, relative to the logits: what the model's own float32 may round
ROUNDS = 120  # of the local search
LOCAL_SHARE = 0.1  # of the time of an image, for the local search
ASSUMPTIONS = (
    "bounds are computed in float64, for the network in real arithmetic; a proof leaves a margin of "
    f"{SLACK:g} of the largest logit for the rounding of the network itself"
)


class Status(Enum):
    """What is known of an image."""

    PROVEN = "proven"  # no input of its region meets the goal
    BROKEN = "broken"  # an input that does is known
    OPEN = "open"


@dataclass(frozen=True)
class Certificates:
    """What `verify` found, one entry per image.

    Args:
        status: PROVEN, BROKEN or OPEN.
        lower: (B,) a lower bound of the margin that an attack has to push below 0, in the whole region; -inf where a
            counterexample is known.
        examples: (B, ...) the counterexample, confirmed on the classifier itself; the image where there is none.
        methods: what decided, or for open images gave the best bound: "clean", the attack, "ibp", "crown",
            "local-search", "alpha-crown", "branch-and-bound".
        seconds: (B,) of computation; of steps that many images share, an equal part.
        domains: (B,) int64, how many domains branch and bound looked at.
        slack: (B,) the bound above which an image counts as proven.
    """

    status: tuple[Status, ...]
    lower: Tensor
    examples: Tensor
    methods: tuple[str, ...]
    seconds: Tensor
    domains: Tensor
    slack: Tensor

    def __len__(self) -> int:
        return len(self.status)

    def which(self, status: Status) -> Tensor:
        """Tell (B,) which images have this status."""
        return torch.tensor([one is status for one in self.status], dtype=torch.bool)

    def __str__(self) -> str:
        counts = ", ".join(f"{int(self.which(one).sum())} {one.value}" for one in Status)
        return f"{counts} of {len(self)} images"


def verify(
    target: Classifier | nn.Module | Network,
    goal: Goal,
    images: Tensor,
    ball: Ball,
    *,
    timeout: float = 60.0,
    mask: Tensor | None = None,
    eps: Tensor | None = None,
    attack: Attack[Jacobians, object] | Literal["auto"] | None = "auto",
    search: SlopeSearch | None = None,
    branching: BranchAndBound | None = None,
    rounds: int = ROUNDS,
    slack: float = SLACK,
    memory: float = MEMORY,
) -> Certificates:
    """Return for each image whether the goal can be met in its region: proven, broken or open.

    The region is the ball, the valid range and the mask, and wider by the rounding that `Region.contains` grants
    (1e-6), so that no attack of this library can break what is proven. Bounds are computed in float64. A proof needs a
    bound above `slack` * (1 + the largest clean logit), since the classifier itself rounds.

    Args:
        target, goal, images, ball, mask, eps, memory: as for `certify_bounds`.
        timeout: seconds for each image, from CROWN on; what is under way then ends, and what is known is returned. The
            attack comes before it. 0: CROWN only, however long it takes.
        attack: looks for counterexamples first, at the same ball; "auto": `Auto(ball)`; None: none does, as for images
            that withstood one already.
        search: how alpha-CROWN optimises slopes.
        branching: how branch and bound goes about it.
        rounds: of the local search in Linf on what CROWN leaves open, each about 30 passes; it ends after a tenth of
            `timeout`. 0: none.
        slack: see above.

    Raises:
        TargetError, InputError, ThreatError, GoalError, ConfigError: an argument that does not fit, with the cure.
    """
    if not timeout >= 0 or not slack >= 0:
        raise ConfigError(f"timeout={timeout!r}, slack={slack!r}; pass numbers >= 0")
    if isinstance(rounds, bool) or not isinstance(rounds, int) or rounds < 0:
        raise ConfigError(f"rounds={rounds!r}; pass an integer >= 0, the rounds of the local search")
    network, region = checked(target, goal, images, ball, mask, eps)
    return _Verification(
        network,
        region,
        goal,
        Auto(ball) if attack == "auto" else attack,  # type: ignore[arg-type]
        SlopeSearch() if search is None else search,
        BranchAndBound() if branching is None else branching,
        rounds,
        timeout,
        slack,
        memory,
    ).run(mask, eps)


class _Verification:
    """One call of `verify`: what is known of each image, step by step."""

    def __init__(
        self,
        network: Network,
        region: Region,
        goal: Goal,
        attack: Attack[Jacobians, object] | None,
        search: SlopeSearch,
        branching: BranchAndBound,
        rounds: int,
        timeout: float,
        slack: float,
        memory: float,
    ) -> None:
        self.network, self.region, self.goal, self.attack = network, region, goal, attack
        self.search, self.branching, self.rounds = search, branching, rounds
        self.timeout, self.memory = timeout, memory
        self.classifier, images = network.target, region.x
        count = len(images)
        self.status = [Status.OPEN] * count
        self.methods = ["none"] * count
        self.lower = torch.full((count,), -torch.inf, dtype=torch.float64)
        self.seconds = torch.zeros(count, dtype=torch.float64)
        self.domains = torch.zeros(count, dtype=torch.int64)
        self.examples = images.clone()
        with self.classifier.frozen(), torch.no_grad():
            network.compare(images[: min(count, 8)])
            logits = self.classifier(images).double()
            self.weights: Weights = network.weights(torch.float64)
        self.weights = {name: value.detach() for name, value in self.weights.items()}
        self.clean = goal.margin(logits)
        self.slack = slack * (1 + logits.abs().amax(1)).cpu()
        self.inputs = InputSet.of(region, torch.float64, tolerance=TOLERANCE)
        self.wanted = specification(goal, network.classes, torch.float64, images.device)

    @property
    def open(self) -> Tensor:
        """The rows (Q,) that are still open."""
        rows = [row for row, one in enumerate(self.status) if one is Status.OPEN]
        return torch.tensor(rows, dtype=torch.long, device=self.region.x.device)

    def run(self, mask: Tensor | None, eps: Tensor | None) -> Certificates:
        """Take all steps."""
        for row in (self.clean > 0).nonzero().flatten().tolist():
            self._broken(row, self.region.x[row], "clean")
        if self.attack is not None:
            self._timed(lambda rows: self._attacked(rows, mask, eps))
        with torch.no_grad():
            self._timed(self._by_intervals)
            held = 8 * COPIES * sum(torch.Size(node.shape).numel() for node in self.network.nodes)
            group = max(1, int(self.memory * 2**20 / held))  # images whose bounds of all nodes are held at once
            for rows in torch.split(self.open, group):
                self._relaxed(rows)
        return Certificates(
            tuple(self.status),
            self.lower,
            self.examples,
            tuple(self.methods),
            self.seconds,
            self.domains,
            self.slack,
        )

    # what is found

    def _broken(self, row: int, example: Tensor, method: str) -> None:
        self.status[row], self.methods[row] = Status.BROKEN, method
        self.examples[row], self.lower[row] = example, -torch.inf

    def _bounded(self, rows: Tensor, margin: Tensor, method: str) -> None:
        """Take lower bounds (Q,) of the margins of some rows into account."""
        for row, bound in zip(rows.tolist(), margin.double().tolist(), strict=True):
            if bound > self.lower[row] or self.methods[row] == "none":
                self.lower[row], self.methods[row] = bound, method
            if self.lower[row] > self.slack[row]:
                self.status[row] = Status.PROVEN

    def _timed(self, step: Callable[[Tensor], None], rows: Tensor | None = None) -> None:
        """Take a step on the open rows, or on some; each bears an equal part of the time."""
        rows = self.open if rows is None else rows
        if len(rows):
            start = time.monotonic()
            step(rows)
            self.seconds[rows.cpu()] += (time.monotonic() - start) / len(rows)

    # steps

    def _attacked(self, rows: Tensor, mask: Tensor | None, eps: Tensor | None) -> None:
        part = None if self.region.free is None else self.region.free[rows]
        radii = None if eps is None else self.region.eps[rows]
        assert self.attack is not None
        outcome = run(self.attack, self.classifier, take(self.goal, rows), self.region.x[rows], mask=part, eps=radii)
        for place in outcome.success.nonzero().flatten().tolist():
            self._broken(int(rows[place]), outcome.examples[place], outcome.attack)

    def _by_intervals(self, rows: Tensor) -> None:
        inputs, wanted = self.inputs.take(rows), self.wanted.take(rows)
        relaxed = relax(self.network, self.weights, inputs, propagate_intervals(self.network, self.weights, inputs))
        lower = relaxed.bound_affinely(len(self.network) - 1, wanted.functions)
        self._bounded(rows, wanted.margin(lower), "ibp")

    def _relaxed(self, rows: Tensor) -> None:
        """CROWN on rows whose bounds are held at once, then each of those that are left alone."""
        state: list[list[Interval]] = []

        def crown(rows: Tensor) -> None:
            stop = time.monotonic() + self.timeout * len(rows) if self.timeout else math.inf
            inputs, wanted = self.inputs.take(rows), self.wanted.take(rows)
            intervals = relaxed_intervals(self.network, self.weights, inputs, memory=self.memory, stop=stop)
            relaxed = relax(self.network, self.weights, inputs, intervals)
            last = len(self.network) - 1
            lower = in_portions(lower_bounds, relaxed, last, wanted.functions, self.memory)
            merged = relaxed.bound_affinely(last, wanted.functions)
            self._bounded(rows, wanted.margin(torch.maximum(lower, merged)), "crown")
            state.append(intervals)

        self._timed(crown, rows)
        left = [row for row in rows.tolist() if self.status[row] is Status.OPEN]
        if left and self.timeout and self.rounds and self.region.box is not None:
            self._timed(self._searched_locally, torch.tensor(left, device=rows.device))
        for place, row in enumerate(rows.tolist()):
            if self.status[row] is Status.OPEN and self.timeout:
                one = torch.tensor([row], device=rows.device)
                intervals = row_intervals(state[0], place)
                self._timed(lambda _, row=row, held=intervals: self._alone(row, held), one)  # type: ignore[misc]

    def _searched_locally(self, rows: Tensor) -> None:
        """Look for counterexamples that the attack did not find."""
        stop = time.monotonic() + LOCAL_SHARE * self.timeout * len(rows)
        key = Key(rows, 0)
        search = LocalSearch(self.classifier, take(self.goal, rows), self.region.take(rows), key, stop)
        for place in search.run(self.rounds).nonzero().flatten().tolist():
            row = int(rows[place])
            example, met = self.example_at(row, search.examples[place][None])
            if bool(met):  # in a batch of one the classifier may round otherwise
                self._broken(row, example[0], "local-search")

    def _alone(self, row: int, intervals: list[Interval]) -> None:
        """alpha-CROWN and branch and bound on one image, whose intervals are known."""
        stop = time.monotonic() + self.timeout - float(self.seconds[row])
        rows = torch.tensor([row], device=self.region.x.device)
        wanted, inputs = self.wanted.take(rows), self.inputs.take(rows)
        given = wanted, self.branching, self.memory, stop
        reduced = ImageSearch.reduced(self.network, self.weights, inputs, intervals, *given)
        if reduced is None:
            return

        def judge(points: Tensor) -> Tensor:
            return self.example_at(row, points)[1]

        networks, slack = Precisions.of(reduced), float(self.slack[row])
        search = ImageSearch(networks, wanted, self.search, self.branching, slack, self.memory, stop, judge)
        self._bounded_alone(row, search.optimized(), "alpha-crown")
        if self.status[row] is Status.OPEN:
            self._bounded_alone(row, search.tightened(), "alpha-crown")
        if self.status[row] is not Status.OPEN:
            return
        found = search.searched()
        self.domains[row] = found.domains
        if found.example is None:
            self._bounded_alone(row, found.bound, "branch-and-bound")
            return
        example, met = self.example_at(row, found.example[None])
        if bool(met):  # in a batch of one the classifier may round otherwise
            self._broken(row, example[0], "branch-and-bound")

    def _bounded_alone(self, row: int, bound: float, method: str) -> None:
        self._bounded(torch.tensor([row]), torch.tensor([bound]), method)

    def example_at(self, row: int, points: Tensor) -> tuple[Tensor, Tensor]:
        """Points as inputs of an image's region in the classifier's precision, and whether the goal is met there."""
        rows = torch.full((len(points),), row, dtype=torch.long, device=points.device)
        inputs = self.region.take(rows).nearest_(points.to(self.region.x.dtype, copy=True))
        with self.classifier.frozen(), torch.no_grad():
            return inputs, take(self.goal, rows).margin(self.classifier(inputs)) > 0


__all__ = ["Certificates", "Status", "verify"]
