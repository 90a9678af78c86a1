"""Ordinary training, and adversarial training as the min-max game (Madry et al. 2018, arXiv:1706.06083, eq. 2.1).

    min_w  E  max_{|delta| <= eps}  J(w, x + delta, y)

With `FastFGSM` as its attack, `Madry` is fast adversarial training (Wong et al. 2020, arXiv:2001.03994).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ...errors import ConfigError
from .minibatch import Craft, Minibatch, Net
from .objective import Objective, cross_entropy


@dataclass(frozen=True)
class Plain(Objective):
    """J(x): no attack at all. `temperature` divides the logits, as a distillation's teacher wants."""

    smoothing: float = 0.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        check_smoothing(self)
        if not self.temperature > 0:
            raise ConfigError(f"{type(self).__name__} temperature={self.temperature}; pass a number above 0")

    @property
    def attacks(self) -> tuple[int, int]:
        return 0, 0

    def losses(self, net: Net, batch: Minibatch, examples: tuple[Tensor, ...]) -> Tensor:
        return cross_entropy(net(batch.images) / self.temperature, batch.labels, self.smoothing)


@dataclass(frozen=True)
class Madry(Objective):
    """J(x_adv) alone; `smoothing` of the labels is no part of the paper."""

    smoothing: float = 0.0

    def __post_init__(self) -> None:
        check_smoothing(self)

    def examples(self, craft: Craft) -> tuple[Tensor, ...]:
        return (craft(),)

    def losses(self, net: Net, batch: Minibatch, examples: tuple[Tensor, ...]) -> Tensor:
        return cross_entropy(net(examples[0]), batch.labels, self.smoothing)


def check_smoothing(objective: Plain | Madry) -> None:
    """ConfigError where the smoothing is no share."""
    if not 0 <= objective.smoothing < 1:
        raise ConfigError(f"{type(objective).__name__} smoothing={objective.smoothing}; pass a share in [0, 1)")
