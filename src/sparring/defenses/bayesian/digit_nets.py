"""A small network for digits, plain, Bayesian and with noise: the models of the plans `mnist-small-*`.

    conv 16 4x4/2 - relu - conv 32 4x4/2 - relu - conv 32 3x3/2 - relu - linear 512-10

22,874 weights: few, since a Bayesian network under attack draws all of them for each image.
"""

from __future__ import annotations

from torch import nn

from sparring.defenses.bayesian.variational import make_bayesian
from sparring.defenses.randomization import add_noise_layers


def network() -> nn.Module:
    """Return the network: images (B, 1, 28, 28) in [0, 1] -> logits (B, 10)."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, 10),
    )


def adv_bnn() -> nn.Module:
    """Return the network with Gaussian weights."""
    return make_bayesian(network(), prior_std=0.1, init_std=0.02)


def rse() -> nn.Module:
    """Return the network with noise before each convolution."""
    return add_noise_layers(network())
