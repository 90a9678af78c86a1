"""Files of examples: one safetensors file per chunk, written whole or not at all."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ...errors import RunError
from ...files import write_atomically

FOLDER = "examples"


def example_file(chunk: int) -> str:
    """Return the file of a chunk, relative to the run folder."""
    return f"{FOLDER}/chunk-{chunk:06d}.safetensors"


def write_examples(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors by name into one safetensors file, whole or not at all; OSError where the disk does not take it."""
    write_atomically(path, save({name: value.detach().cpu().contiguous() for name, value in tensors.items()}))


def read_row(path: Path, name: str, row: int) -> Tensor:
    """Return one row of a tensor, without reading the others."""
    try:
        with safe_open(str(path), framework="pt") as file:
            value: Tensor = file.get_slice(name)[row : row + 1]
            return value[0]
    except (OSError, SafetensorError, IndexError) as error:
        raise RunError(f"{path} cannot be read ({error}); the records name it, so restore it") from error
