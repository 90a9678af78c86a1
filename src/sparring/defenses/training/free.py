"""Free adversarial training (Shafahi et al. 2019, arXiv:1904.12843, algorithm 1): one backward pass for both players.

Each minibatch is used m times in a row, and delta lives on from one minibatch to the next:

    w     <- w - step of the optimiser along grad_w J(w, x + delta)
    delta <- clip( delta + eps sign( grad_x J(w, x + delta) ), -eps, eps )         from the same pass

As in the authors' code x + delta is cut to [0, 1]. Departure: the sign is that of the gradient at the image so cut,
also where a pixel was cut; theirs is 0 there, and delta stays.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import ConfigError
from ...geometry import Linf
from .adversary import Adversary
from .minibatch import Craft, Minibatch, Net
from .objective import Objective, check_field, cross_entropy

DELTA = "delta"  # its name in the memory


@dataclass(frozen=True)
class Free(Objective):
    """Train on J(x + delta), with several updates per minibatch that share their backward pass with the attack.

    Divide the epochs by `m`: with the paper's 8 an epoch costs as much as 8 without an attack. The adversary's one
    attack is not run: its Linf ball bounds delta, and the validation attacks within it.

    Args:
        m: updates per minibatch; 8 for CIFAR-10 and 4 for ImageNet in the paper.

    Raises: ConfigError.
    """

    m: int = 8

    def __post_init__(self) -> None:
        check_field(self, "m", isinstance(self.m, int) and self.m >= 1, "a whole number from 1")

    @property
    def minibatch_replays(self) -> int:
        return self.m

    @property
    def runs_attacks(self) -> bool:
        return False

    def check(self, adversary: Adversary) -> None:
        attack = adversary.attacks[0]
        if not isinstance(attack.ball, Linf):
            raise ConfigError(f"Free moves by signs, within Linf, and {attack.name} has {attack.ball}; give it Linf")

    def examples(self, craft: Craft) -> tuple[Tensor, ...]:
        images = craft.batch.images
        return ((images + remembered_delta(craft)[: len(images)]).clamp_(0, 1).requires_grad_(),)

    def losses(self, net: Net, batch: Minibatch, examples: tuple[Tensor, ...]) -> Tensor:
        return cross_entropy(net(examples[0]), batch.labels)

    def after_update(self, craft: Craft, examples: tuple[Tensor, ...]) -> None:
        slope, eps, delta = examples[0].grad, craft.ball.eps, remembered_delta(craft)
        if slope is not None:
            moved = (delta[: len(slope)] + eps * slope.sign()).clamp_(-eps, eps)
            craft.memory[DELTA] = torch.cat((moved, delta[len(slope) :])).contiguous()


def remembered_delta(craft: Craft) -> Tensor:
    """Return the delta so far (B or more, C, H, W), within the present eps; 0 at first, and never fewer rows."""
    images, eps = craft.batch.images, craft.ball.eps
    delta = craft.memory.get(DELTA, images.new_zeros(0, *images.shape[1:]))
    missing = max(len(images), len(delta), craft.engine.batch_size) - len(delta)  # as many in every process
    return torch.cat((delta, images.new_zeros(missing, *images.shape[1:]))).clamp_(-eps, eps)
