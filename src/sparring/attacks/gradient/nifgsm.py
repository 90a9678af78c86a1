"""Nesterov iterative FGSM (Lin et al. 2020, arXiv:1908.06281, section 3.1).

    g_{t+1} = decay * g_t + grad L(x_t + alpha * decay * g_t) / |...|_1

and the step of MI-FGSM. Departure: the point looked ahead to is projected onto ball and range, so that it may
count as an example.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ...geometry import rowwise
from ...geometry.region import Region
from .mifgsm import MIFGSM, Momentum


@dataclass(frozen=True)
class NIFGSM(MIFGSM):
    """MI-FGSM with the gradient taken where the memory will lead. Arguments as there."""

    def look(self, region: Region, state: Momentum) -> Tensor:
        return region.project(state.delta + state.memory * rowwise(self.rate(region) * self.decay, state.memory))
