"""TRADES (Zhang et al. 2019, arXiv:1901.08573, algorithm 1): accuracy traded against stability of the prediction.

    J(w, x) + beta KL( p(x) || p(x') ),      x' = argmax_{|x' - x| <= eps} KL( p(x) || p(x') )

beta is 1 / lambda of the paper. The sum runs over the classes, and as in the authors' code its gradient reaches the
weights through both p(x) and p(x').
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ...attacks import FGSM, MIFGSM, NIFGSM
from ...errors import ConfigError
from ...goals import Divergence
from ...log_probabilities import kl_divergence
from .adversary import Adversary
from .minibatch import Craft, Minibatch, Net
from .objective import Objective, check_field, cross_entropy

START_SIGMA = 0.001  # standard deviation of the start


@dataclass(frozen=True)
class TRADES(Objective):
    """Train on J(x) + beta KL(p(x) || p(x')).

    The attack climbs the divergence from the clean answer, which costs one forward pass more. Its gradient is 0 at the
    clean image, so an attack that can begin elsewhere does so at x + 0.001 N(0, I), and one that begins at the image
    and nowhere else is refused.

    Args:
        beta: weight of the divergence; 6 for CIFAR-10 in the paper.
        label_smoothing: in [0, 1); no part of the paper.

    Raises: ConfigError.
    """

    beta: float = 6.0
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        check_field(self, "beta", 0 <= self.beta < float("inf"), "a number from 0")
        check_field(self, "label_smoothing", 0 <= self.label_smoothing < 1, "a share in [0, 1)")

    def check(self, adversary: Adversary) -> None:
        attack = adversary.attacks[0]
        if isinstance(attack, FGSM | MIFGSM | NIFGSM):
            raise ConfigError(
                f"TRADES climbs a divergence that is flat at the clean image, where {attack.name} begins; use PGD, or "
                "FastFGSM for a single step"
            )

    def examples(self, craft: Craft) -> tuple[Tensor, ...]:
        start = craft.add_noise(START_SIGMA) if craft.attacks[0].accepts_start else None
        return (craft(loss=Divergence(craft.logits(craft.batch.images)), start=start),)

    def losses(self, net: Net, batch: Minibatch, examples: tuple[Tensor, ...]) -> Tensor:
        clean = net(batch.images)
        return cross_entropy(clean, batch.labels, self.label_smoothing) + self.beta * kl_divergence(
            clean, net(examples[0])
        )
