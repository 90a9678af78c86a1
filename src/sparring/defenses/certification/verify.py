"""`verify`: for each image a proof, a counterexample, or how much is missing.

First an attack, then bounds from cheap to dear - intervals, CROWN, alpha-CROWN, branch and bound - each only on the
images that the ones before left open.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
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
from ...rows import take
from ...targets import Classifier
from .activations import Slopes
from .branch_and_bound import BranchAndBound, DomainSearch
from .certify import checked, row_intervals
from .concretize import InputSet
from .graph import Network, Weights
from .intervals import Interval, propagate_intervals
from .linear_bounds import COPIES, MEMORY, Relaxed, in_portions, lower_bounds, portion, relax, relaxed_intervals
from .optimized_slopes import OptimizedBounds, SlopeSearch, optimized_bounds, optimized_intervals
from .specifications import Specification, specification

SLACK = 1e-5  # by which a proof exceeds 0, relative to the logits: what the model's own float32 may round
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
            "alpha-crown", "branch-and-bound".
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
    slack: float = SLACK,
    memory: float = MEMORY,
) -> Certificates:
    """Return for each image whether the goal can be met in its region: proven, broken or open.

    The region is the ball, the valid range and the mask, and wider by the rounding that `Region.contains` grants
    (1e-6), so that no attack of this library can break what is proven. Bounds are computed in float64. A proof needs a
    bound above `slack` * (1 + the largest clean logit), since the classifier itself rounds.

    Args:
        target, goal, images, ball, mask, eps, memory: as for `certify_bounds`.
        timeout: seconds of branch and bound for each image; 0: none is made.
        attack: looks for counterexamples first, at the same ball; "auto": `Auto(ball)`; None: none does, as for images
            that withstood one already.
        search: how alpha-CROWN optimises slopes.
        branching: how branch and bound goes about it.
        slack: see above.

    Raises:
        TargetError, InputError, ThreatError, GoalError, ConfigError: an argument that does not fit, with the cure.
    """
    if not timeout >= 0 or not slack >= 0:
        raise ConfigError(f"timeout={timeout!r}, slack={slack!r}; pass numbers >= 0")
    network, region = checked(target, goal, images, ball, mask, eps)
    return _Verification(
        network,
        region,
        goal,
        Auto(ball) if attack == "auto" else attack,  # type: ignore[arg-type]
        SlopeSearch() if search is None else search,
        BranchAndBound() if branching is None else branching,
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
        timeout: float,
        slack: float,
        memory: float,
    ) -> None:
        self.network, self.region, self.goal, self.attack = network, region, goal, attack
        self.search, self.branching, self.timeout, self.memory = search, branching, timeout, memory
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
        """CROWN, alpha-CROWN, and branch and bound, image by image, on rows whose bounds are held at once."""
        state: dict[str, Relaxed] = {}

        def crown(rows: Tensor) -> None:
            inputs, wanted = self.inputs.take(rows), self.wanted.take(rows)
            intervals = relaxed_intervals(self.network, self.weights, inputs, memory=self.memory)
            relaxed = relax(self.network, self.weights, inputs, intervals)
            last = len(self.network) - 1
            lower = in_portions(lower_bounds, relaxed, last, wanted.functions, self.memory)
            merged = relaxed.bound_affinely(last, wanted.functions)
            self._bounded(rows, wanted.margin(torch.maximum(lower, merged)), "crown")
            state["relaxed"] = relaxed

        self._timed(crown, rows)
        for place, row in enumerate(rows.tolist()):
            if self.status[row] is Status.OPEN:
                one = torch.tensor([row], device=rows.device)
                self._timed(lambda _, at=place: self._alone(int(_), state["relaxed"], at), one)  # type: ignore[misc]

    def _alone(self, row: int, relaxed: Relaxed, place: int) -> None:
        """alpha-CROWN and branch and bound on one image, the number `place` of a relaxed batch."""
        at = torch.tensor([place], device=self.region.x.device)
        intervals = row_intervals(list(relaxed.intervals), place)  # type: ignore[arg-type]
        slopes = {number: Slopes(*(one[at] for one in pair)) for number, pair in relaxed.slopes.items()}
        alone = replace(relaxed, inputs=relaxed.inputs.take(at), intervals=intervals, slopes=slopes)
        if self.search.intermediate:
            intervals = optimized_intervals(self.network, self.weights, alone.inputs, self.search, self.memory)
            alone = relax(self.network, self.weights, alone.inputs, intervals)
        rows = torch.tensor([row], device=at.device)
        wanted = self.wanted.take(rows)
        best = self._optimized(alone, wanted)
        self._bounded(rows, wanted.margin(best.least), "alpha-crown")
        if self.status[row] is not Status.OPEN or self.timeout == 0:
            return
        self._searched(row, alone, intervals, wanted, best)

    def _optimized(self, relaxed: Relaxed, wanted: Specification) -> OptimizedBounds:
        """alpha-CROWN's bounds and slopes, in portions of functions that fit into memory."""
        count = portion(self.network, relaxed.inputs, self.memory, with_gradients=True)
        parts = [
            optimized_bounds(relaxed, len(self.network) - 1, part, self.search)
            for part in torch.split(wanted.functions, count, dim=1)
        ]
        slopes = {
            number: Slopes(*(torch.cat([part.slopes[number][side] for part in parts], 1) for side in (0, 1)))
            for number in parts[0].slopes
        }
        return OptimizedBounds(torch.cat([part.least for part in parts], 1), slopes)

    def _searched(
        self, row: int, relaxed: Relaxed, intervals: list[Interval], wanted: Specification, best: OptimizedBounds
    ) -> None:
        region = self.region.take(torch.tensor([row], device=self.region.x.device))
        goal = take(self.goal, torch.tensor([row], device=self.region.x.device))

        def example_at(points: Tensor) -> tuple[Tensor, Tensor]:
            """Points as inputs of the region in the classifier's precision, and whether the goal is met there."""
            rows = torch.zeros(len(points), dtype=torch.long, device=points.device)
            inputs = region.take(rows).nearest_(points.to(region.x.dtype, copy=True))
            with self.classifier.frozen(), torch.no_grad():
                return inputs, take(goal, rows).margin(self.classifier(inputs)) > 0

        searching = DomainSearch(
            self.network,
            self.weights,
            relaxed.inputs,
            intervals,
            {**relaxed.slopes, **best.slopes},
            wanted,
            self.branching,
            float(self.slack[row]),
            lambda points: example_at(points)[1],
        )
        found = searching.run(best.least[0], self.timeout)
        self.domains[row] = found.domains
        if found.example is None:
            self._bounded(torch.tensor([row]), torch.tensor([found.bound]), "branch-and-bound")
            return
        example, met = example_at(found.example[None])
        if bool(met):  # in a batch of one the classifier may round otherwise
            self._broken(row, example[0], "branch-and-bound")


__all__ = ["Certificates", "Status", "verify"]
