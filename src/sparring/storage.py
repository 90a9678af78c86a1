"""Tensors and plain values in one safetensors file; nothing in it is executed when it is read."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .errors import RunError


def write_tensors(path: Path, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
    """Write the file whole or not at all; RunError where the disk does not take it."""
    partial = path.with_suffix(".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        plain = torch.contiguous_format
        flat = {name: value.detach().cpu().clone(memory_format=plain) for name, value in tensors.items()}
        save_file(flat, str(partial), metadata={"values": json.dumps(values)})
        os.replace(partial, path)
    except (OSError, SafetensorError) as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise RunError(f"cannot write {path}: {error}; free some space or choose another folder") from error


def read_tensors(path: Path, cure: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `write` wrote; RunError, which names the cure, where it is nothing of the kind."""
    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, json.loads((file.metadata() or {})["values"])
    except (OSError, SafetensorError, KeyError, ValueError, RecursionError) as error:
        raise RunError(f"cannot read {path}: {error}; {cure}") from error
