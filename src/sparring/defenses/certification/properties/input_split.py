"""Branch and bound over the inputs: boxes are halved until each is proven, for networks of few inputs.

All boxes of a batch are bounded together by CROWN (Zhang et al. 2018). A box is halved along the input for which the
bounding function falls most from one side to the other (as in ReluVal, Wang et al. 2018, arXiv:1804.10829, where it is
the gradient); the boxes of the lowest bounds go first. Where boxes become small the bounds become exact, so that every
property which holds or fails by a margin is decided in the end, whatever the activations.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..concretize import InputSet
from ..graph import Network, Weights
from ..linear_bounds import COPIES, MEMORY, relax, relaxed_intervals
from ..specifications import Specification

NARROWEST = 1e-9  # sides of [0, 1] that are not halved any more
EVEN = 0.05  # of the mean slope, added to each, so that no input is never halved
MOST_WAITING = 500_000  # boxes
JUDGED = 64  # points of a batch that are handed to the judge, at most

Judge = Callable[[Tensor], Tensor | None]  # points (N, n) -> a counterexample (n,) among them, None: there is none


@dataclass(frozen=True)
class SplitResult:
    """What the search found.

    Args:
        proven: all boxes are.
        example: (n,) a counterexample, None: none was found.
        bound: a lower bound of the margin; of the boxes that wait where it is not proven.
        boxes: how many were bounded.
        exhausted: neither proven nor broken, and it was not for the time.
    """

    proven: bool
    example: Tensor | None
    bound: float
    boxes: int
    exhausted: bool


def split_inputs(
    network: Network,
    weights: Weights,
    low: Tensor,
    high: Tensor,
    wanted: Specification,
    slack: float,
    judge: Judge,
    stop: float,
    batch_size: int = 256,
    memory: float = MEMORY,
) -> SplitResult:
    """Search a box until it is proven, a counterexample is found, or `time.monotonic()` reaches `stop`.

    Args:
        network, weights: of inputs (n,), in float64.
        low, high: (n,) the box.
        wanted: (1, S, K) what is to be proven.
        slack: a bound above it is a proof.
        judge: which of some points is a counterexample; asked about the centre and the lowest points of each box.
        batch_size: boxes bounded at once, at most; fewer where `memory` MB do not hold more.
    """
    sizes = [torch.Size(node.shape).numel() for node in network.nodes]
    per_box = 8 * COPIES * max(sizes) * max(wanted.functions.shape[1], 2 * max(sizes) // 8)
    batch = max(1, min(batch_size, int(memory * 2**20 / per_box)))
    search = _Search(network, weights, wanted, slack, judge, memory)
    boxes = search.bounded(low[None], high[None])
    proven_bound = stuck = torch.inf
    while True:
        if search.example is not None:
            return SplitResult(False, search.example, -torch.inf, search.count, False)
        is_open = ~(boxes.bound > slack)
        proven_bound = min(proven_bound, _least(boxes.bound[~is_open]))
        if not bool(is_open.any()) and stuck == torch.inf:
            return SplitResult(True, None, proven_bound, search.count, False)
        if search.undecided:  # no proof any more; a counterexample only where it has a margin
            near = is_open & (boxes.bound > -slack)
            stuck = min(stuck, _least(boxes.bound[near]))
            is_open = is_open & ~near
        boxes = boxes.take(is_open)
        waiting = min(proven_bound, stuck, _least(boxes.bound))
        if not len(boxes):
            return SplitResult(False, None, waiting, search.count, True)
        if time.monotonic() >= stop:
            return SplitResult(False, None, waiting, search.count, False)
        count = min(batch, len(boxes))
        chosen = boxes.bound.topk(count, largest=False).indices
        if len(boxes) > MOST_WAITING or not bool((boxes.widths.amax(1) > NARROWEST)[chosen].any()):
            return SplitResult(False, None, waiting, search.count, True)
        rest = torch.ones(len(boxes), dtype=torch.bool, device=low.device).index_fill(0, chosen, False)
        halves = search.bounded(*boxes.take(chosen).halved())
        boxes = boxes.take(rest).joined(halves)


@dataclass(frozen=True)
class _Boxes:
    """Boxes (D, n), their bounds (D,) and which input of each is to be halved (D,)."""

    low: Tensor
    high: Tensor
    bound: Tensor
    axis: Tensor

    def __len__(self) -> int:
        return len(self.bound)

    @property
    def widths(self) -> Tensor:
        return self.high - self.low

    def take(self, rows: Tensor) -> _Boxes:
        return _Boxes(self.low[rows], self.high[rows], self.bound[rows], self.axis[rows])

    def joined(self, other: _Boxes) -> _Boxes:
        names = ("low", "high", "bound", "axis")
        return _Boxes(*(torch.cat((getattr(self, name), getattr(other, name))) for name in names))

    def halved(self) -> tuple[Tensor, Tensor]:
        """Return low and high (2 D, n) of both halves."""
        index = self.axis[:, None]
        middle = ((self.low + self.high) / 2).gather(1, index)
        high, low = self.high.scatter(1, index, middle), self.low.scatter(1, index, middle)
        return torch.cat((self.low, low)), torch.cat((high, self.high))


def _least(bounds: Tensor) -> float:
    return float(bounds.amin()) if len(bounds) else torch.inf


class _Search:
    """The bounds of boxes, and the counterexample once there is one."""

    def __init__(
        self, network: Network, weights: Weights, wanted: Specification, slack: float, judge: Judge, memory: float
    ) -> None:
        self.network, self.weights, self.wanted = network, weights, wanted
        self.slack, self.judge, self.memory = slack, judge, memory
        self.example: Tensor | None = None
        self.undecided = False  # a point is known whose margin is within the slack, and is no counterexample
        self.count = 0

    @torch.no_grad()
    def bounded(self, low: Tensor, high: Tensor) -> _Boxes:
        """Bound the boxes (D, n), and look for a counterexample among their points."""
        count = len(low)
        self.count += count
        centre = (low + high) / 2
        inputs = InputSet(centre, low, high, ((high - low) / 2).amax(1), torch.inf)
        intervals = relaxed_intervals(self.network, self.weights, inputs, memory=self.memory)
        relaxed = relax(self.network, self.weights, inputs, intervals)
        last = len(self.network) - 1
        found = relaxed.bound(last, self.wanted.functions)
        least = torch.maximum(found.least, relaxed.bound_affinely(last, self.wanted.functions))
        bound = self.wanted.margin(least)
        worst = least.argmin(1) if self.wanted.every else least.argmax(1)
        slopes = found.coefficients.expand(count, -1, -1)[torch.arange(count, device=low.device), worst]
        lowest = torch.where(slopes > 0, low, high)
        self._look(torch.cat((centre, lowest)), bound)
        steep = slopes.abs()
        gain = (high - low) * (steep + EVEN * steep.mean(1, keepdim=True) + 1e-30)
        return _Boxes(low, high, bound, gain.argmax(1))

    def _look(self, points: Tensor, bound: Tensor) -> None:
        """Ask the judge about the points (2 D, n) at which the margin is lowest, of boxes that are not proven."""
        points = points[torch.cat((bound, bound)) <= self.slack]
        if len(points) and self.example is None:
            values = self.network(points, self.weights)
            margins = self.wanted.margin(torch.einsum("bk,sk->bs", values, self.wanted.functions[0]))
            near = margins.topk(min(JUDGED, len(points)), largest=False)
            near_points = points[near.indices][near.values <= self.slack]
            if len(near_points):
                self.example = self.judge(near_points)
                self.undecided |= self.example is None
