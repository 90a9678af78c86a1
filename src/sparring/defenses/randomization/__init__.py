"""Defences that draw: each answer is another, and what they are worth is judged over the draws."""

from .activation_pruning import ActivationPruning, pruned
from .input_noise import InputNoise
from .resize_pad import ResizePad
from .self_ensemble import NoiseLayer, self_ensembled
from .table import networks, table

__all__ = [
    "ActivationPruning", "InputNoise", "NoiseLayer", "ResizePad", "networks", "pruned", "self_ensembled", "table",
]  # fmt: skip
