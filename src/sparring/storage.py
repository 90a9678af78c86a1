"""Tensors and plain values in safetensors files, tables in TOML.

Nothing in a file is executed when it is read.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .errors import ConfigError, RunError
from .files import replace_file


def write_tensors(path: Path, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
    """Write tensors by name and plain values (as JSON has them) into one safetensors file, whole or not at all.

    Raises: RunError where the disk does not take it.
    """
    try:
        with replace_file(path) as partial:
            plain = torch.contiguous_format
            flat = {name: value.detach().cpu().clone(memory_format=plain) for name, value in tensors.items()}
            save_file(flat, str(partial), metadata={"values": json.dumps(values)})
    except (OSError, SafetensorError) as error:
        raise RunError(f"cannot write {path}: {error}; free some space or choose another folder") from error


def read_tensors(path: Path, cure: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and values that `write_tensors` wrote.

    Raises: RunError, which ends with `cure`, where the file is nothing of the kind.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError("it is a folder")
        with safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, json.loads((file.metadata() or {})["values"])
    except (OSError, SafetensorError, KeyError, ValueError, RecursionError) as error:
        raise RunError(f"cannot read {path}: {error}; {cure}") from error


def read_file_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file that somebody else wrote, by name.

    Raises: ConfigError where it is none.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError) as error:
        raise ConfigError(f"{path} is no safetensors file: {error}; save tensors with safetensors.torch") from error


def read_checkpoint(path: Path, mark: str, cure: str, stranger: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and values of a checkpoint whose value "mark" is `mark`.

    Args:
        mark: the fingerprint of what the checkpoint belongs to.
        cure: what to do where the file cannot be read.
        stranger: what the error says where the mark is another: "belongs to another training ...; ...".

    Raises: RunError.
    """
    tensors, values = read_tensors(path, cure)
    if values.get("mark") != mark:
        raise RunError(f"{path} {stranger}")
    return tensors, values


def describe_invalid(error: ValidationError, where: str = "") -> str:
    """Describe in one line what first does not fit in a table; `where` is its name, where it is not the plan itself."""
    first = error.errors()[0]
    place = ".".join([*([where] if where else []), *(str(part) for part in first["loc"])])
    if first["type"] == "missing":
        return f"the plan has no {place}; it needs one"
    message = first["msg"]
    if first["type"] == "tuple_type":
        message = "write a list, as [...]"
    elif first["type"] == "model_type":
        message = f"write a table, [{place}], or in Python {first['ctx']['class_name']}(...)"
    return f"{place}={first['input']!r:.80}: {message}"


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Return the table in a TOML file; ConfigError, which asks for `what` ("a training plan"), where it is none."""
    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist; name {what}, which is a TOML file") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); name {what}, a TOML file") from error
    except (ValueError, RecursionError) as error:  # a decoding error, or a number of thousands of digits
        raise ConfigError(f"{path} is no TOML: {error}") from error
    if "\\x00" in repr(table):
        raise ConfigError(f"{path} has a NUL character in a text, which no name has; delete it")
    return table
