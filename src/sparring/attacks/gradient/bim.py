"""The basic iterative method (Kurakin et al. 2017, arXiv:1607.02533, section 2.2).

    x_{t+1} = Clip_{x, eps} ( x_t + alpha * sign(grad L(x_t)) ),  x_0 = x

The iterative least-likely class method of section 2.3 is BIM with the goal ClassifyAs(least_likely(clean logits)).
"""

from __future__ import annotations

from dataclasses import dataclass

from ...access import PositiveInt
from ...geometry.ball import Radius
from ...geometry.region import Region
from .pgd import PGD


@dataclass(frozen=True)
class BIM(PGD):
    """Ascend the loss by steepest steps from the input itself, with steps * step_size = eps.

    Args:
        ball: Linf in the paper; L2 and L1 work as well.
        steps: the number of gradient steps. The paper's own, min(4 + eps, 1.25 eps) for eps in 0..255, is
            `kurakin_steps`.
        step_size: alpha, in the ball's norm; None: eps / steps.
        random_start: False in the paper.
    """

    steps: PositiveInt = 10
    random_start: bool = False

    def step_size_at(self, t: int, region: Region) -> Radius:
        return region.radius / self.steps if self.step_size is None else self.step_size


def kurakin_steps(eps: float) -> int:
    """Return the paper's number of steps for an Linf radius `eps` of images in [0, 1]."""
    return max(1, round(min(4 + 255 * eps, 1.25 * 255 * eps)))
