"""Several threats at once (Tramer & Boneh 2019, arXiv:1904.13000): the average, or the worst of them.

    avg:  (1 / n) sum_i J(w, x_i)            max:  max_i J(w, x_i),    x_i the example of attack i

The third way, the steepest of several norms at every step, is an attack: `MSD`, with `Madry`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import torch
from torch import Tensor

from ...geometry import rowwise
from .minibatch import Craft, Minibatch, Net
from .objective import Objective, cross_entropy


@dataclass(frozen=True)
class Average(Objective):
    """Train on the mean of the losses on the examples of every attack, which takes a pass for each."""

    @property
    def attacks(self) -> tuple[int, int]:
        return 2, sys.maxsize

    def examples(self, craft: Craft) -> tuple[Tensor, ...]:
        return tuple(craft(which) for which in range(len(craft.attacks)))

    def losses(self, net: Net, batch: Minibatch, examples: tuple[Tensor, ...]) -> Tensor:
        return torch.stack([cross_entropy(net(example), batch.labels) for example in examples]).mean(0)


@dataclass(frozen=True)
class Maximum(Objective):
    """Train on the example of each row with the highest cross-entropy among those of all attacks.

    It is chosen by a forward pass per attack without gradients, in the mode in which the model is attacked. So only one
    pass is differentiated, on the chosen examples.
    """

    @property
    def attacks(self) -> tuple[int, int]:
        return 2, sys.maxsize

    def examples(self, craft: Craft) -> tuple[Tensor, ...]:
        labels, worst = craft.batch.labels, craft(0)
        highest = cross_entropy(craft.logits(worst), labels)
        for which in range(1, len(craft.attacks)):
            example = craft(which)
            loss = cross_entropy(craft.logits(example), labels)
            worst = torch.where(rowwise(loss > highest, worst), example, worst)
            highest = torch.maximum(highest, loss)
        return (worst,)

    def losses(self, net: Net, batch: Minibatch, examples: tuple[Tensor, ...]) -> Tensor:
        return cross_entropy(net(examples[0]), batch.labels)
