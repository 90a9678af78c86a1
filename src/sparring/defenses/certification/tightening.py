"""Tighter bounds of the neurons of a reduced network, where a counterexample would have to lie.

A proof has to hold only where no function exceeds a limit: elsewhere there is nothing left to prove. So the least value
of a neuron may be sought under that condition, which enters its bound with a multiplier (Kotha et al. 2023, INVPROP,
arXiv:2302.01404). Bounds of the first layers then depend on all later ones, and several sweeps narrow one another.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace

import torch
from torch import Tensor

from .ascent import Precisions, Rows, Variables, ascend

CHUNK = 512  # neurons bounded at once, at most
STEPS, LEARNING_RATE, DECAY = 10, 0.3, 0.95  # of Adam on each neuron's bound


def tighten(
    networks: Precisions,
    low: Tensor,
    high: Tensor,
    start: Variables,
    chosen: Tensor,
    *,
    limit: float | None,
    memory: float,
    stop: float = math.inf,
) -> tuple[Tensor, Tensor]:
    """Return narrower bounds (1, N) of the neurons; where time is up, those that were found until then.

    Args:
        low, high: (1, N) bounds that hold.
        start: slopes, multipliers and shares to begin with, of one row.
        chosen: (N,) bool, the neurons that are bounded, as far as they cross.
        limit: the functions may not exceed it; None: the bounds have to hold everywhere.
        memory: MB for the rows that are bounded at once.
    """
    low, high, net = low.clone(), high.clone(), networks.fine
    per_row = 4 * 12 * (2 * net.units + net.matrix.shape[1] + 2 * net.neurons)
    count = max(1, min(CHUNK, int(memory * 2**20 / per_row)))
    for number, layer in enumerate(net.layers):
        if number == 0 and limit is None:
            continue  # exact already
        base, offset = net.functions(layer)
        wanted = net.crossing(low, high)[0, layer.neurons] & chosen[layer.neurons]
        depth = number if limit is None else None
        for some in torch.split(wanted.nonzero().squeeze(1), count):
            first = start.map(lambda one, rows=len(some): one.expand(rows, *one.shape[1:]))
            first = replace(first, weight=None if limit is None else first.lower.new_zeros(len(some)))
            for sign, held in ((1, low), (-1, high)):
                if time.monotonic() > stop:
                    return low, high
                functions = sign * base[some], sign * offset[some]
                rows = Rows(low, high, net.narrowed(low, high), *functions, limit or 0.0, depth)
                found = ascend(networks, rows, first, STEPS, LEARNING_RATE, DECAY, stop=stop)
                at = some + layer.neurons.start
                better = torch.maximum if sign > 0 else torch.minimum
                held[0, at] = better(held[0, at], sign * found.least)
            high = torch.maximum(low, high)
    return low, high
