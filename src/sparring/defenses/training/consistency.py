"""Consistency regularisation (Jeong & Shin 2020, arXiv:2006.04062, eq. 7 and 8): answers that agree under noise.

    mean_i J(w, x + sigma z_i)  +  lambda mean_i KL( P || p_i )  +  eta H(P),        P = mean_i p_i

p_i are the probabilities at x + sigma z_i and H is the entropy. Gradients go through P too, as in the authors' code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .gaussian import check_noise, mean_cross_entropy, noisy_logits
from .minibatch import Minibatch, Net
from .objective import Objective, check_field


@dataclass(frozen=True)
class Consistency(Objective):
    """Train under noise, with probabilities of m draws that agree with their mean.

    Args:
        sigma: standard deviation of the noise, in units of [0, 1].
        m: draws per image and update, each a pass (2 in the paper).
        lambda_: weight of the divergence from the mean.
        eta: weight of the mean's entropy (0.5 in the paper).

    Raises: ConfigError.
    """

    sigma: float
    m: int = 2
    lambda_: float = 10.0
    eta: float = 0.5

    def __post_init__(self) -> None:
        check_noise(self, least=2)
        for word in ("lambda_", "eta"):
            check_field(self, word, 0 <= getattr(self, word) < math.inf, "a number from 0")

    @property
    def attacks(self) -> tuple[int, int]:
        return 0, 0

    def losses(self, net: Net, batch: Minibatch, examples: tuple[Tensor, ...]) -> Tensor:
        logits = noisy_logits(net, batch, batch.images, self.sigma, self.m)
        divergence, entropy = disagreement(logits)
        return mean_cross_entropy(logits, batch.labels) + self.lambda_ * divergence + self.eta * entropy


def disagreement(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean_i KL(P || p_i) and H(P), each (B,), of logits (m, B, K)."""
    logs = logits.log_softmax(2)
    mean_log = logs.logsumexp(0) - math.log(len(logs))
    mean = mean_log.exp()
    entropy = -torch.sum(mean * mean_log, 1)
    return -torch.sum(mean * logs.mean(0), 1) - entropy, entropy
