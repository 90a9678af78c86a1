"""Random defences: stages and layers that draw new random numbers for each query."""

from .activation_pruning import ActivationPruning, add_activation_pruning
from .input_noise import InputNoise
from .resize_pad import ResizePad
from .self_ensemble import NoiseLayer, add_noise_layers
from .table import networks, table

__all__ = [
    "ActivationPruning",
    "InputNoise",
    "NoiseLayer",
    "ResizePad",
    "add_activation_pruning",
    "add_noise_layers",
    "networks",
    "table",
]  # fmt: skip
