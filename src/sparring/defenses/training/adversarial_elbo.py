"""Adv-BNN: a Bayesian network trained on adversarial examples (Liu et al. 2019, arXiv:1810.01279, eq. 8).

    min_{mu, s}  E_x  E_{w ~ q}  J(w, x', y)  +  alpha / N  KL( q || N(0, s_0^2) )

x' is found by an attack that meets a new draw of the weights at each step; N is the number of training images. With
alpha = 1 the second term is that of the evidence lower bound; the authors' code has 0.02 in one place and 1 in another.

Zimmermann 2019 (arXiv:1907.00895) finds no strong evidence that such a network is more robust than adversarial training
alone, once the attack averages its gradient over draws of the weights: judge it by `Defended.adaptive_view`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor, nn

from ...errors import ConfigError
from ...targets import Classifier
from ..bayesian.variational import kl_divergence
from .minibatch import Craft, Minibatch, Net
from .objective import Objective, check_field, cross_entropy


@dataclass(frozen=True)
class AdversarialELBO(Objective):
    """Train a network of `make_bayesian` on J(x_adv) + alpha / N KL(q || prior).

    With `Adversary(batch_norm="train")` one draw of the weights serves a whole minibatch at each step, as in the paper;
    with "eval" each image has its own, which takes several times as long.

    Args:
        alpha: weight of the divergence.
        label_smoothing: in [0, 1); no part of the paper.

    Raises: ConfigError.
    """

    alpha: float = 1.0
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        check_field(self, "alpha", 0 <= self.alpha < math.inf, "a number from 0")
        check_field(self, "label_smoothing", 0 <= self.label_smoothing < 1, "a share in [0, 1)")

    def check_network(self, network: nn.Module) -> None:
        kl_divergence(network)

    def examples(self, craft: Craft) -> tuple[Tensor, ...]:
        return (craft(),)

    def losses(self, net: Net, batch: Minibatch, examples: tuple[Tensor, ...]) -> Tensor:
        if not isinstance(net, Classifier) or not isinstance(net.model, nn.Module) or not batch.n_train:
            raise ConfigError("AdversarialELBO needs a Classifier around a module, and Minibatch(n_train=)")
        entropy = cross_entropy(net(examples[0]), batch.labels, self.label_smoothing)
        return entropy + self.alpha / batch.n_train * kl_divergence(net.model)
