"""Adversarial training with a clean term (Goodfellow et al. 2015, arXiv:1412.6572, section 6).

    alpha J(w, x) + (1 - alpha) J(w, x_adv)                                                on the same images

In the paper x_adv = x + eps sign(grad_x J), `FGSM`, with alpha = 0.5; as there, no gradient goes through the
perturbation.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .minibatch import Craft, Minibatch, Net
from .objective import Objective, check_field, cross_entropy


@dataclass(frozen=True)
class Goodfellow(Objective):
    """Train on alpha J(x) + (1 - alpha) J(x_adv), which takes two passes.

    Args:
        alpha: weight of the clean loss, in [0, 1]; 0.5 in the paper.
        label_smoothing: in [0, 1); no part of the paper.

    Raises: ConfigError.
    """

    alpha: float = 0.5
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        check_field(self, "alpha", 0 <= self.alpha <= 1, "a share in [0, 1]")
        check_field(self, "label_smoothing", 0 <= self.label_smoothing < 1, "a share in [0, 1)")

    def examples(self, craft: Craft) -> tuple[Tensor, ...]:
        return (craft(),)

    def losses(self, net: Net, batch: Minibatch, examples: tuple[Tensor, ...]) -> Tensor:
        clean = cross_entropy(net(batch.images), batch.labels, self.label_smoothing)
        attacked = cross_entropy(net(examples[0]), batch.labels, self.label_smoothing)
        return self.alpha * clean + (1 - self.alpha) * attacked
