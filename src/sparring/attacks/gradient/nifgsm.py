"""Nesterov iterative FGSM (Lin et al. 2020, arXiv:1908.06281, section 3.1).

    g_{t+1} = mu * g_t + grad L(x_t + alpha * mu * g_t) / |...|_1

and the step of MI-FGSM. Departure: the point x_t + alpha * mu * g_t is projected onto ball and range, so that it may
count as an example.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ...geometry import rowwise
from ...geometry.region import Region
from .mifgsm import MIFGSM, MIFGSMState


@dataclass(frozen=True)
class NIFGSM(MIFGSM):
    """Run MI-FGSM with the gradient taken where the momentum would lead.

    Args:
        ball: Linf in the paper, with a finite eps; L2 and L1 work as well.
        steps: T, the number of gradient steps (10 in the paper).
        decay: mu, the factor on the momentum (1.0 in the paper).
        step_size: alpha, in the ball's norm; None: eps / steps.
    """

    def gradient_point(self, region: Region, state: MIFGSMState) -> Tensor:
        lookahead = state.momentum * rowwise(self.row_step_sizes(region) * self.decay, state.momentum)
        return region.project(state.delta + lookahead)
