"""MTL-IBP: an adversarial and a certified loss side by side (De Palma et al. 2024, arXiv:2305.13991, section 5.3).

    (1 - alpha) J(x')  +  alpha J( zbar_ibp(x) )

alpha = 0 is adversarial training, alpha = 1 is IBP without the clean loss.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..certification.certify import Method
from .certified import CertifiedObjective, recorded_pass, worst_cross_entropy
from .minibatch import Craft, Minibatch, Net
from .objective import check_share, cross_entropy, per_row


@dataclass(frozen=True)
class MTLIBP(CertifiedObjective):
    """Train on a mixture of J at the attack's example and of J at the worst logits that intervals allow.

    The attack has a ball of its own, which in the paper is sometimes larger. The smaller alpha is, the looser are the
    network's intervals, so that epochs are judged by CROWN-IBP; certify such networks by `verify`.

    Args:
        ball: what is certified.
        alpha: weight of the certified loss. The larger the radius, the larger it has to be.

    Raises: ConfigError.
    """

    alpha: float = 0.04

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share(self, "alpha")

    @property
    def validation_method(self) -> Method:
        return "crown-ibp"

    def examples(self, craft: Craft) -> tuple[Tensor, ...]:
        """Return the adversarial examples (B, C, H, W) and the radius (B,)."""
        return (craft(), *per_row(craft, self.ball.eps * craft.eps_share))

    def losses(self, net: Net, batch: Minibatch, examples: tuple[Tensor, ...]) -> Tensor:
        adversarial, eps = examples
        logits, statistics = recorded_pass(net, batch, adversarial)
        loss = cross_entropy(logits, batch.labels)
        if self.alpha == 0:
            return loss
        lower = self.bounds(batch, batch.images, eps, statistics).ibp
        return (1 - self.alpha) * loss + self.alpha * worst_cross_entropy(lower)
