"""CROWN-IBP (Zhang et al. 2020, arXiv:1906.06316, eq. 11 and 12).

    kappa J(x)  +  (1 - kappa) J( zbar ),     zbar = -( (1 - beta) m_IBP + beta m_CROWN-IBP )

m are lower bounds of the margins; beta and kappa change with the radius, linearly in it. beta_end = 0 ends as IBP.
"""

from __future__ import annotations

from dataclasses import dataclass

from .ibp import IBP, ramp
from .objective import check_share


@dataclass(frozen=True)
class CROWNIBP(IBP):
    """Train as IBP does, with margins that are bounded by CROWN-IBP while the radius grows.

    Args:
        ball: what is certified.
        kappa_start, kappa_end: weight of J(x) where the radius is 0, and where it is full.
        beta_start, beta_end: weight of the linear relaxation's bounds there.

    Raises: ConfigError.
    """

    kappa_end: float = 0.0
    beta_start: float = 1.0
    beta_end: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share(self, "beta_start", "beta_end")

    def weights(self, share: float) -> tuple[float, ...]:
        """Return kappa and beta at a share of the full radius."""
        return *super().weights(share), ramp(self.beta_start, self.beta_end, share)
