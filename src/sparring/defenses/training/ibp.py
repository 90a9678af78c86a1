"""Interval bound propagation (Gowal et al. 2018, arXiv:1810.12715, eq. 11 and 12).

    kappa J(x)  +  (1 - kappa) J( zbar_ibp(x) )

kappa changes with the radius, linearly in it.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .certified import CertifiedObjective, Statistics, normalising, recorded_pass, worst_cross_entropy
from .minibatch import Craft, Minibatch, Net
from .objective import check_share, cross_entropy, per_row


@dataclass(frozen=True)
class IBP(CertifiedObjective):
    """Train on a mixture of J(x) and of J at the worst logits that intervals allow.

    Args:
        ball: what is certified.
        kappa_start, kappa_end: weight of J(x) where the radius is 0, and where it is full. Nothing is computed for a
            loss whose weight is 0.

    Raises: ConfigError.
    """

    kappa_start: float = 1.0
    kappa_end: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share(self, "kappa_start", "kappa_end")

    @property
    def attacks(self) -> tuple[int, int]:
        return 0, 0

    def weights(self, share: float) -> tuple[float, ...]:
        """Return kappa at a share of the full radius."""
        return (ramp(self.kappa_start, self.kappa_end, share),)

    def examples(self, craft: Craft) -> tuple[Tensor, ...]:
        """Return the radius (B,) and the weights, each (B,), without zeros at the end; nothing where kappa is 1."""
        weights = list(self.weights(craft.eps_share))
        if weights[0] == 1:
            return ()
        while weights and weights[-1] == 0:
            weights.pop()
        return per_row(craft, self.ball.eps * craft.eps_share, *weights)

    def losses(self, net: Net, batch: Minibatch, examples: tuple[Tensor, ...]) -> Tensor:
        if not examples:
            return cross_entropy(net(batch.images), batch.labels)
        eps, kappa, beta = (*examples, None, None)[:3]
        assert eps is not None
        logits: Tensor | None = None
        statistics: Statistics = {}
        if kappa is not None or normalising(batch):
            logits, statistics = recorded_pass(net, batch, batch.images)
        lower, relaxed = self.bounds(batch, batch.images, eps, statistics, crown=beta is not None)
        if relaxed is not None and beta is not None:
            lower = (1 - beta[:, None]) * lower + beta[:, None] * relaxed
        worst = worst_cross_entropy(lower)
        if kappa is None or logits is None:
            return worst
        return kappa * cross_entropy(logits, batch.labels) + (1 - kappa) * worst


def ramp(start: float, end: float, share: float) -> float:
    """Return what a weight is at a share of the full radius, or beyond it."""
    return start + (end - start) * min(share, 1.0)
