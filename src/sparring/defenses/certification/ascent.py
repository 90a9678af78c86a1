"""Lower bounds in reduced networks, by ascent in the slopes and multipliers that they depend on.

Any slopes, and any multipliers that are not negative, give a bound that holds (alpha-CROWN and beta-CROWN; Xu et al.
2021, arXiv:2011.13824; Wang et al. 2021, arXiv:2103.06624). So they are sought in single precision, and the bound is
evaluated with the best of them in double precision.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from .activations import Hinge
from .reduced import ReducedBound, ReducedNetwork, Relaxation

SMOOTH = 0.1  # learning rate of the slopes of smooth activations, whose first choice is nearly right, over ReLU's
WEIGHTS = 0.3  # the same for the weights of the functions


class Precisions(NamedTuple):
    """A reduced network in single and in double precision."""

    coarse: ReducedNetwork
    fine: ReducedNetwork

    @classmethod
    def of(cls, network: ReducedNetwork) -> Precisions:
        """Return both of a network in double precision."""
        return cls(network.to(torch.float32), network)


@dataclass(frozen=True)
class Rows:
    """What is bounded, one row each: <base, (h, x)> + offset + weight (<share, functions> - limit).

    With a base, the bound is one of its least value where no function exceeds the limit; without a weight one of its
    least value. Without a base, it is one of the functions' maximum.

    Args:
        low, high: (D or 1, N) bounds of the neurons.
        bounded: (D or 1, 2, N) which of them have a multiplier; None: none.
        base, offset: (D, units + inputs), (D,).
        limit: see above.
        depth: of how many layers base and functions take results; None: of all.
    """

    low: Tensor
    high: Tensor
    bounded: Tensor | None = None
    base: Tensor | None = None
    offset: Tensor | None = None
    limit: float = 0.0
    depth: int | None = None

    def to(self, dtype: torch.dtype) -> Rows:
        """Return the rows in another precision."""
        base, offset = (None if one is None else one.to(dtype) for one in (self.base, self.offset))
        return replace(self, low=self.low.to(dtype), high=self.high.to(dtype), base=base, offset=offset)


@dataclass(frozen=True)
class Variables:
    """What a bound depends on, one row each.

    Args:
        lower, upper: (D, M) slopes of the units' lines.
        multipliers: (D, 2, N) of the constraints z >= low and z <= high; None: none.
        shares: (D, F) logits of the functions' shares.
        weight: (D,) of the functions; None: without a base.
    """

    lower: Tensor
    upper: Tensor
    multipliers: Tensor | None
    shares: Tensor
    weight: Tensor | None = None

    def __len__(self) -> int:
        return len(self.lower)

    def map(self, change: Callable[..., Tensor], *others: Variables) -> Variables:
        """Return the variables, each changed by a function of it and of those of others."""
        given = ((one.lower, one.upper, one.multipliers, one.shares, one.weight) for one in (self, *others))
        every = zip(*given, strict=True)
        return Variables(*(None if parts[0] is None else change(*parts) for parts in every))  # type: ignore[arg-type]


class Ascended(NamedTuple):
    """Bounds (D,) in double precision, the variables that gave them, and points (D, ...) where they are attained."""

    least: Tensor
    variables: Variables
    points: Tensor


def evaluate(
    network: ReducedNetwork, rows: Rows, variables: Variables, seen: dict[int, Tensor] | None = None
) -> ReducedBound:
    """Return the bounds that these variables give."""
    share = variables.shares.softmax(1)
    coefficients, offset = share @ network.matrix, share @ network.bias
    if rows.base is not None and rows.offset is not None and variables.weight is None:
        coefficients, offset = rows.base, rows.offset
    elif rows.base is not None and rows.offset is not None and variables.weight is not None:
        coefficients = rows.base + variables.weight[:, None] * coefficients
        offset = rows.offset + variables.weight * (offset - rows.limit)
    multipliers = variables.multipliers
    if multipliers is not None and rows.bounded is not None:
        multipliers = multipliers * rows.bounded
    relaxation = Relaxation(rows.low, rows.high, variables.lower, variables.upper, multipliers)
    return network.bound(coefficients, offset, relaxation, rows.depth, seen)


def ascend(
    networks: Precisions,
    rows: Rows,
    start: Variables,
    steps: int,
    learning_rate: float,
    decay: float,
    *,
    enough: float = math.inf,
    stop: float = math.inf,
) -> Ascended:
    """Return the bounds after at most so many steps of Adam, fewer where all exceed `enough` or time is up."""
    coarse = rows.to(torch.float32)
    best = start.map(lambda one: one.detach().float())
    values = best.map(lambda one: one.clone().requires_grad_())
    best_least = torch.full((len(start),), -math.inf, device=rows.low.device)
    pieces = all(isinstance(one, Hinge) for layer in networks.coarse.layers for one, _ in layer.units)
    rate = learning_rate * (1 if pieces else SMOOTH)
    groups = [{"params": [values.lower] if pieces else [values.lower, values.upper], "lr": rate}]
    others = [one for one in (values.multipliers, values.shares) if one is not None]
    groups.append({"params": others, "lr": learning_rate})
    if values.weight is not None:
        groups.append({"params": [values.weight], "lr": WEIGHTS * learning_rate})
    optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99))
    for step in range(steps + 1):
        with torch.enable_grad():
            least = evaluate(networks.coarse, coarse, values).least
            loss = -least.sum()
        found = least.detach()
        better = found > best_least
        best_least = torch.where(better, found, best_least)
        best = values.map(lambda new, old, at=better: torch.where(_column(at, new), new.detach(), old), best)
        if step == steps or not loss.requires_grad or bool((best_least > enough).all()) or time.monotonic() > stop:
            break
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for group in optimizer.param_groups:
            group["lr"] *= decay if step else 1
        optimizer.step()
        with torch.no_grad():
            for one in (values.multipliers, values.weight):
                if one is not None:
                    one.clamp_(min=0)
            if pieces:
                values.lower.clamp_(0, 1)
    fine = best.map(lambda one: one.to(rows.low.dtype))
    with torch.no_grad():
        held = evaluate(networks.fine, rows, fine)
    points = networks.fine.inputs.minimizer(held.coefficients.view(1, -1, *networks.fine.inputs.x.shape[1:]))[0]
    return Ascended(held.least, best, points)


def _column(rows: Tensor, like: Tensor) -> Tensor:
    return rows.view(-1, *[1] * (like.ndim - 1))


def first_variables(
    network: ReducedNetwork, low: Tensor, high: Tensor, shares: Tensor, weighted: bool = False
) -> Variables:
    """Return the variables to begin with: each activation's own slopes, no multiplier, no weight."""
    count = len(shares)
    slopes = network.slopes(low, high)
    lower, upper = (one.expand(count, -1).float() for one in slopes)
    weight = lower.new_zeros(count) if weighted else None
    return Variables(lower, upper, None, shares.float(), weight)
