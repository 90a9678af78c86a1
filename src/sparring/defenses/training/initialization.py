"""Initial weights for training with intervals (Shi et al. 2021, arXiv:2103.17268, section 3.2).

    w ~ N( 0, 2 pi / n^2 ),     n the number of inputs of a neuron

Through such a layer and a ReLU the expected width of intervals stays what it was; with the usual initialisations it
grows by a factor in each layer.
"""

from __future__ import annotations

import math

from torch import nn


def ibp_initialization(model: nn.Module) -> None:
    """Draw the weights of all linear and convolutional layers anew, from torch's global generator; biases are 0."""
    for layer in model.modules():
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            inputs = layer.weight[0].numel()
            nn.init.normal_(layer.weight, 0.0, math.sqrt(2 * math.pi) / inputs)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
