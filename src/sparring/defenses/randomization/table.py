"""Every random stage, and every way to make a network random, by the name that a command line uses."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from ...transforms import Stage
from .activation_pruning import pruned
from .input_noise import InputNoise
from .resize_pad import ResizePad
from .self_ensemble import self_ensembled

table: dict[str, type[Stage]] = {
    "resize-pad": ResizePad,
    "input-noise": InputNoise,
}
networks: dict[str, Callable[..., nn.Module]] = {
    "self-ensemble": self_ensembled,
    "activation-pruning": pruned,
}
