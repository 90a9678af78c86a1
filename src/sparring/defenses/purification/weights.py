"""Saving and loading of a network's weights as one safetensors file."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from ...errors import RunError
from ...storage import read_tensors, write_tensors


def save_weights(module: nn.Module, path: Path | str) -> Path:
    """Write parameters and buffers to a file, and return its path; RunError where the disk does not take it."""
    path = Path(path)
    write_tensors(path, dict(module.state_dict()), {"module": type(module).__name__})
    return path


def load_weights(module: nn.Module, path: Path | str) -> None:
    """Put what `save_weights` wrote into a module of the same shape, in eval mode; RunError where it is another's."""
    tensors, values = read_tensors(Path(path), "pass a file that save_weights wrote")
    wanted = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    if {name: tuple(value.shape) for name, value in tensors.items()} != wanted:
        raise RunError(
            f"{path} holds the weights of a {values.get('module')}, which do not fit this {type(module).__name__}; "
            "make it with the parameters it was trained with"
        )
    module.load_state_dict(tensors)
    module.eval()
