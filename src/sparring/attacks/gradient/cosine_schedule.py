"""The default step sizes of PGD in L1 and L0, where a step changes few components.

They fall on a cosine schedule: with a constant step size the choice of components keeps changing to the end, and fewer
rows are broken. In L0 the step goes from 0.4 to 0.04 of the number of components (0.15 of it in Croce & Hein 2019,
arXiv:1909.05040), in L1 from 10 eps / steps to a fiftieth of that.
"""

from __future__ import annotations

import math

from ...geometry.ball import Radius
from ...geometry.region import Region

FIRST_L0, LAST_L0 = 0.4, 0.04  # in numbers of components
FIRST_L1, LAST_L1 = 10.0, 0.2  # in eps / steps


def sparse_step_size(t: int, steps: int, region: Region) -> Radius:
    """Return the size of step t of `steps` in an L1 or L0 region: one number, or (B,)."""
    remaining = (1 + math.cos(math.pi * t / steps)) / 2
    if region.ball.p == 0:
        return region.dimension * (LAST_L0 + (FIRST_L0 - LAST_L0) * remaining)
    return region.radius / steps * (LAST_L1 + (FIRST_L1 - LAST_L1) * remaining)
