"""Ensemble adversarial training (Tramer et al. 2018, arXiv:1705.07204): examples of other models too.

    alpha J(w, x) + (1 - alpha) J(w, x_adv),     x_adv from one of several models, this one or a static one

A model that makes its own examples alone learns to make weak ones; those of static models do not depend on it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import ConfigError
from ...random import Key
from .adversary import Adversary
from .goodfellow import Goodfellow
from .minibatch import Craft


@dataclass(frozen=True)
class EnsembleTraining(Goodfellow):
    """Train on alpha J(x) + (1 - alpha) J(x_adv) with examples of several models; alpha is 0.5 as in the paper.

    Each minibatch draws who makes its examples, by its number: the model itself or one of the adversary's `sources`,
    all with the same chance. The attack is the adversary's one, `FGSM` or `RFGSM` in the paper.
    """

    def check(self, adversary: Adversary) -> None:
        if not adversary.sources:
            raise ConfigError("Ensemble mixes in examples of other models, and the adversary has no sources; name some")

    def examples(self, craft: Craft) -> tuple[Tensor, ...]:
        key = Key(torch.tensor([craft.step]), craft.batch.key.seed)
        which = int(key.integers("source", (1,), 1 + len(craft.sources)))
        return (craft(target=None if which == 0 else craft.sources[which - 1]),)
