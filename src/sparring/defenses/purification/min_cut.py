"""The cheapest path through an overlap, from its first line to its last (Efros & Freeman 2001, section 2.1)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def min_cut(cost: Tensor) -> Tensor:
    """Return (..., lines) int64: where on each line of `cost` (..., lines, places) the path of least sum goes through.

    From one line to the next it moves by at most one place.
    """
    lines, places = cost.shape[-2:]
    below = cost[..., lines - 1, :]
    totals = [below]  # of the cheapest path from here to the last line
    for line in range(lines - 2, -1, -1):
        around = F.pad(below, (1, 1), value=torch.inf).unfold(-1, 3, 1)
        below = cost[..., line, :] + around.amin(-1)
        totals.insert(0, below)
    here = totals[0].argmin(-1, keepdim=True)
    path = [here]
    steps = torch.arange(places, device=cost.device)
    for total in totals[1:]:
        here = total.masked_fill((steps - here).abs() > 1, torch.inf).argmin(-1, keepdim=True)
        path.append(here)
    return torch.cat(path, -1)
