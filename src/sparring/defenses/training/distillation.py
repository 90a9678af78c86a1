"""Defensive distillation (Papernot et al. 2016, arXiv:1511.04508): learn soft labels at a temperature.

    - sum_k softmax(teacher(x) / T)_k log softmax(z(x) / T)_k

The teacher has been trained at the same T (`Plain(temperature=T)`); the student is used at temperature 1, as it is.
The gradients that an attack sees vanish, and the boundary hardly moves: Carlini & Wagner 2017 (arXiv:1608.04644).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...errors import ConfigError
from ...log_probabilities import soft_cross_entropy
from ...targets import Target
from .minibatch import Craft, Minibatch, Net
from .objective import Objective, check_field


@dataclass(frozen=True)
class Distillation(Objective):
    """Train on the cross-entropy with a teacher's probabilities, without an attack.

    The gradient in the weights is small, of order 1 / T, as the paper has it: a larger learning rate or Adam makes up
    for it.

    Args:
        teacher: answers with logits (B, K) of the same classes; it is left as it is.
        temperature: divides both logits; 100 is the highest of the paper.

    Raises: ConfigError.
    """

    teacher: Target[Any]
    temperature: float = 100.0

    def __post_init__(self) -> None:
        check_field(self, "teacher", isinstance(self.teacher, Target), "a target, as Classifier(model)")
        check_field(self, "temperature", 0 < self.temperature < math.inf, "a number above 0")

    @property
    def attacks(self) -> tuple[int, int]:
        return 0, 0

    def examples(self, craft: Craft) -> tuple[Tensor, ...]:
        """Return the soft labels (B, K)."""
        with self.teacher.frozen(), torch.no_grad():
            logits = self.teacher(craft.batch.images)
        return ((logits / self.temperature).softmax(1),)

    def losses(self, net: Net, batch: Minibatch, examples: tuple[Tensor, ...]) -> Tensor:
        logits, (wanted,) = net(batch.images), examples
        if logits.shape != wanted.shape:
            raise ConfigError(
                f"{self.teacher.name} teaches {wanted.shape[1]} classes, and the model has {logits.shape[1]}; "
                "give both the same classes"
            )
        return soft_cross_entropy(logits / self.temperature, wanted)
