"""Adversarial training with a clean term (Goodfellow et al. 2015, arXiv:1412.6572, section 6).

    c J(w, x) + (1 - c) J(w, x_adv)                                                on the same images

In the paper x_adv = x + eps sign(grad_x J), `FGSM`, with c = 0.5; as there, no gradient goes through the perturbation.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .minibatch import Craft, Minibatch, Net
from .objective import Objective, check_field, cross_entropy


@dataclass(frozen=True)
class Goodfellow(Objective):
    """c J(x) + (1 - c) J(x_adv), two passes; `smoothing` of the labels is no part of the paper."""

    c: float = 0.5
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        check_field(self, "c", 0 <= self.c <= 1, "a share in [0, 1]")
        check_field(self, "smoothing", 0 <= self.smoothing < 1, "a share in [0, 1)")

    def examples(self, craft: Craft) -> tuple[Tensor, ...]:
        return (craft(),)

    def losses(self, net: Net, batch: Minibatch, examples: tuple[Tensor, ...]) -> Tensor:
        clean = cross_entropy(net(batch.images), batch.labels, self.smoothing)
        attacked = cross_entropy(net(examples[0]), batch.labels, self.smoothing)
        return self.c * clean + (1 - self.c) * attacked
