"""SmoothAdv (Salman et al. 2019, arXiv:1906.04584, section 2.2): adversarial training of the smoothed classifier.

    min_w  mean_i J(w, x' + sigma z_i),      x' = argmax_{|x' - x| <= eps}  -log( mean_i  F(x' + sigma z_i)_y )

Departures: each step of the attack draws its noise anew, where the authors keep the draws of a minibatch for all steps
and the update; x' keeps to [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ...targets import Pipeline
from ..randomization import InputNoise
from .gaussian import check_noise, mean_cross_entropy, noisy_logits
from .minibatch import Craft, Minibatch, Net
from .objective import Objective


@dataclass(frozen=True)
class SmoothAdv(Objective):
    """Train on noisy copies of an example that the adversary's attack makes against the smoothed classifier.

    Args:
        sigma: standard deviation of the noise, in units of [0, 1].
        m: draws per image, in each step of the attack and in the update; each is a pass.

    The attack is PGD within L2 in the paper.

    Raises: ConfigError.
    """

    sigma: float
    m: int = 2

    def __post_init__(self) -> None:
        check_noise(self)

    def examples(self, craft: Craft) -> tuple[Tensor, ...]:
        noise = InputNoise(self.sigma)
        return (craft(target=Pipeline(craft.trainee, noise, votes=self.m, fuse="probabilities")),)

    def losses(self, net: Net, batch: Minibatch, examples: tuple[Tensor, ...]) -> Tensor:
        return mean_cross_entropy(noisy_logits(net, batch, examples[0], self.sigma, self.m), batch.labels)
