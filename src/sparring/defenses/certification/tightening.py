"""Tighter bounds of the neurons of a reduced network, where a counterexample would have to lie.

A proof has to hold only where no function exceeds a limit: elsewhere there is nothing left to prove. So the least value of
a neuron may be sought under that condition, which enters its bound with a multiplier (Kotha et al. 2023, INVPROP,
arXiv:2302.01404). Bounds of the first layers then depend on all later ones, and several sweeps narrow one another.
"""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor

from .ascent import Precisions, Rows, Variables, ascend, first_variables

CHUNK = 512  # neurons bounded at once, at most


def tighten(
    networks: Precisions,
    low: Tensor,
    high: Tensor,
    shares: Tensor,
    *,
    limit: float | None,
    steps: int,
    learning_rate: float,
    memory: float,
    stop: float = math.inf,
) -> tuple[Tensor, Tensor]:
    """Return narrower bounds (1, N) of the neurons; where time is up, those that were found until then.

    Args:
        low, high: (1, N) bounds that hold.
        shares: (1, F) logits of the functions that may not exceed the limit.
        limit: None: the bounds have to hold everywhere.
        steps, learning_rate: of Adam.
        memory: MB for the rows that are bounded at once.
    """
    low, high = low.clone(), high.clone()
    net = networks.fine
    per_row = 4 * 12 * (2 * net.units + net.matrix.shape[1])
    count = max(1, min(CHUNK, int(memory * 2**20 / per_row)))
    for number, layer in enumerate(net.layers):
        if number == 0 and limit is None and net.inputs.is_box:
            continue  # exact already
        base, offset = net.functions(layer)
        places = net.crossing(low, high)[0, layer.neurons].nonzero().squeeze(1)
        for some in torch.split(places, count):
            if time.monotonic() > stop:
                return low, high
            for sign, held in ((1, low), (-1, high)):
                depth = number if limit is None else None
                rows = Rows(low, high, None, sign * base[some], sign * offset[some], limit or 0.0, depth)
                start = first_variables(net, low, high, shares.expand(len(some), -1), limit is not None)
                found = ascend(
                    networks, rows, start, steps=steps, learning_rate=learning_rate, decay=0.95, stop=stop
                )
                at = some + layer.neurons.start
                better = torch.maximum if sign > 0 else torch.minimum
                held[0, at] = better(held[0, at], sign * found.least)
    return low, torch.maximum(low, high)
