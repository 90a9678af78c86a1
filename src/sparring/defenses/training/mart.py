"""MART (Wang et al. 2020, ICLR, "Improving Adversarial Robustness Requires Revisiting Misclassified Examples").

    BCE(p(x'), y) + lambda * KL( p(x) || p(x') ) * (1 - p_y(x))
    BCE(p, y) = -log p_y - log( 1 - max_{k != y} p_k )

Both factors of the second term pass gradients on, as in the authors' code. Departure: 1 - p is a sum over the other
classes in the exponent, where they add 1e-12 and 1e-4 to keep the logarithm finite.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...log_probabilities import kl_divergence
from .minibatch import Craft, Minibatch, Net
from .objective import Objective, check_field, cross_entropy, one_hot


@dataclass(frozen=True)
class MART(Objective):
    """Train on a boosted cross-entropy, and on the divergence of rows that the model is not sure of.

    The examples climb the cross-entropy. They begin where the attack begins: x + 0.001 N(0, I) with the authors,
    uniform in the ball with `PGD`.

    Args:
        lambda_: weight of the divergence; 5 in the paper.

    Raises: ConfigError.
    """

    lambda_: float = 5.0

    def __post_init__(self) -> None:
        check_field(self, "lambda_", 0 <= self.lambda_ < math.inf, "a number from 0")

    def examples(self, craft: Craft) -> tuple[Tensor, ...]:
        return (craft(),)

    def losses(self, net: Net, batch: Minibatch, examples: tuple[Tensor, ...]) -> Tensor:
        clean, attacked = precise(net(batch.images)), precise(net(examples[0]))
        unsure = log_of_the_rest(clean, one_hot(batch.labels, clean)).exp()
        return boosted(attacked, batch.labels) + self.lambda_ * kl_divergence(clean, attacked) * unsure


def precise(logits: Tensor) -> Tensor:
    """Return the logits in float32 at least: 1 - p has few digits left in bfloat16."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def boosted(logits: Tensor, labels: Tensor) -> Tensor:
    """Return (B,) the boosted cross-entropy -log p_y - log(1 - max_{k != y} p_k)."""
    own = one_hot(labels, logits)
    rival = one_hot(logits.masked_fill(own, -math.inf).argmax(1), logits)
    return cross_entropy(logits, labels) - log_of_the_rest(logits, rival)


def log_of_the_rest(logits: Tensor, chosen: Tensor) -> Tensor:
    """Return (B,) log(1 - p_k) of the class in the mask `chosen` (B, K); finite, with a gradient, if p_k is 1."""
    return logits.masked_fill(chosen, -math.inf).logsumexp(1) - logits.logsumexp(1)
