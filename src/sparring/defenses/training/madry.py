"""Standard training, and adversarial training as the min-max game (Madry et al. 2018, arXiv:1706.06083, eq. 2.1).

    min_w  E  max_{|delta| <= eps}  J(w, x + delta, y)

With `FastFGSM` as its attack, `Madry` is fast adversarial training (Wong et al. 2020, arXiv:2001.03994).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from .minibatch import Craft, Minibatch, Net
from .objective import Objective, check_field, cross_entropy


@dataclass(frozen=True)
class Plain(Objective):
    """Train on J(x), without an attack.

    Args:
        label_smoothing: in [0, 1).
        temperature: divides the logits, as the teacher of a `Distillation` is trained.

    Raises: ConfigError.
    """

    label_smoothing: float = 0.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        check_field(self, "label_smoothing", 0 <= self.label_smoothing < 1, "a share in [0, 1)")
        check_field(self, "temperature", 0 < self.temperature < math.inf, "a number above 0")

    @property
    def attacks(self) -> tuple[int, int]:
        return 0, 0

    def losses(self, net: Net, batch: Minibatch, examples: tuple[Tensor, ...]) -> Tensor:
        return cross_entropy(net(batch.images) / self.temperature, batch.labels, self.label_smoothing)


@dataclass(frozen=True)
class Madry(Objective):
    """Train on J(x_adv) alone.

    Args:
        label_smoothing: in [0, 1); no part of the paper.

    Raises: ConfigError.
    """

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        check_field(self, "label_smoothing", 0 <= self.label_smoothing < 1, "a share in [0, 1)")

    def examples(self, craft: Craft) -> tuple[Tensor, ...]:
        return (craft(),)

    def losses(self, net: Net, batch: Minibatch, examples: tuple[Tensor, ...]) -> Tensor:
        return cross_entropy(net(examples[0]), batch.labels, self.label_smoothing)
