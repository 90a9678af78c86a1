"""The table of random stages and random networks, by the name that the command line uses."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from ...transforms import Stage
from .activation_pruning import add_activation_pruning
from .input_noise import InputNoise
from .resize_pad import ResizePad
from .self_ensemble import add_noise_layers

table: dict[str, type[Stage]] = {
    "resize-pad": ResizePad,
    "input-noise": InputNoise,
}
networks: dict[str, Callable[..., nn.Module]] = {
    "self-ensemble": add_noise_layers,
    "activation-pruning": add_activation_pruning,
}
