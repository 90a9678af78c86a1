"""SABR: intervals in small balls around adversarial examples (Mueller et al. 2023, arXiv:2210.04871, section 3).

    J( zbar_ibp ) in the ball of radius tau = lambda eps around x',     x' = argmax_{|x' - x| <= eps - tau} J(x')

The small ball lies within that of radius eps around x. lambda = 1 is IBP without the clean loss.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from ...errors import ConfigError
from ..certification.certify import Method
from .adversary import Adversary, scaled
from .certified import CertifiedObjective, normalising, recorded_pass, worst_cross_entropy
from .minibatch import Craft, Minibatch, Net
from .objective import check_field, per_row


@dataclass(frozen=True)
class SABR(CertifiedObjective):
    """Train on J at the worst logits that intervals allow in a small ball around the attack's example.

    The adversary's attack has the same ball; it runs within eps - tau, its step size scaled like the radius. Intervals
    of these networks are looser than those of `IBP`, so that epochs are judged by CROWN-IBP; certify them by `verify`.

    Args:
        ball: what is certified.
        lambda_: share of eps that tau is; 0.4 and 0.6 for MNIST at 0.1 and 0.3 in the paper.

    Raises: ConfigError.
    """

    lambda_: float = 0.4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_field(self, "lambda_", 0 < self.lambda_ <= 1, "a share in (0, 1]")

    def check(self, adversary: Adversary) -> None:
        attack = adversary.attacks[0]
        if attack.ball != self.ball:
            raise ConfigError(
                f"SABR certifies {self.ball}, and {attack.name} attacks within {attack.ball}; pass one ball"
            )

    @property
    def validation_method(self) -> Method:
        return "crown-ibp"

    def examples(self, craft: Craft) -> tuple[Tensor, ...]:
        """Return the centres x' (B, C, H, W) and the radius tau (B,)."""
        (tau,) = per_row(craft, self.lambda_ * self.ball.eps * craft.eps_share)
        if self.lambda_ == 1:
            return craft.batch.images, tau
        return replace(craft, attacks=(scaled(craft.attacks[0], 1 - self.lambda_, None),))(), tau

    def losses(self, net: Net, batch: Minibatch, examples: tuple[Tensor, ...]) -> Tensor:
        centres, tau = examples
        statistics = recorded_pass(net, batch, centres)[1] if normalising(batch) else {}
        return worst_cross_entropy(self.bounds(batch, centres, tau, statistics).ibp)
