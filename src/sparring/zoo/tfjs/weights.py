"""Weights of TensorFlow.js: a manifest (JSON) and binary shards -> tensors by name.

A weight is stored as it is, as float16, or as unsigned integers q of 8 or 16 bits that stand for q * scale + min,
computed in float64 and rounded once to float32, as TensorFlow.js does it.
"""

from __future__ import annotations

from math import prod
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import TargetError
from .manifest import field, shape_of

BYTES_LIMIT = 2**31  # of all weights, as stored and as read
DTYPES: dict[str, np.dtype[Any]] = {"float32": np.dtype("<f4"), "int32": np.dtype("<i4"), "bool": np.dtype("u1")}
STORED: dict[str, np.dtype[Any]] = {"uint8": np.dtype("u1"), "uint16": np.dtype("<u2"), "float16": np.dtype("<f2")}


def read_weights(manifest: Any, folder: Path) -> dict[str, Tensor]:
    """Return the weights of a manifest by name: float32, int64 or bool tensors on the CPU.

    Args:
        manifest: a list of groups {"paths": [file names], "weights": [{"name", "shape", "dtype", "quantization"}]}; the
            files of a group follow one another, and hold its weights one after the other.
        folder: where the files are; a path that leaves it is refused.

    Raises: TargetError for what is no such manifest, and for files that are missing, too short or too long.
    """
    if not isinstance(manifest, list):
        raise TargetError(f"a manifest of weights is a list of groups; got a {type(manifest).__name__}")
    found: dict[str, Tensor] = {}
    room = BYTES_LIMIT
    for number, group in enumerate(manifest):
        what = f"group {number} of the weights"
        entries = field(group, "weights", list, what)
        specs = [_Spec(entry, f"weight {place} of group {number}") for place, entry in enumerate(entries)]
        room -= sum(max(spec.count * 8, spec.stored_bytes) for spec in specs)
        if room < 0:
            raise TargetError(f"the weights take more than {BYTES_LIMIT} bytes; such models are not read")
        data = _shards(field(group, "paths", list, what), folder, sum(spec.stored_bytes for spec in specs))
        start = 0
        for spec in specs:
            if spec.name in found:
                raise TargetError(f"the weight {spec.name!r:.80} is there twice")
            found[spec.name] = spec.decode(data[start : start + spec.stored_bytes])
            start += spec.stored_bytes
    return found


class _Spec:
    """One entry of a manifest, checked."""

    def __init__(self, entry: Any, what: str) -> None:
        self.name = field(entry, "name", str, what)
        what = f"{what} ({self.name!r:.80})"
        self.shape, self.dtype = shape_of(entry, what), field(entry, "dtype", str, what)
        if self.dtype not in DTYPES:
            raise TargetError(f"{what} has the dtype {self.dtype!r:.40}; {', '.join(DTYPES)} can be read")
        self.stored, self.scale, self.least = DTYPES[self.dtype], 1.0, 0.0
        quantized = entry.get("quantization")
        if quantized is not None:
            kind = field(quantized, "dtype", str, f"the quantization of {what}")
            if kind not in STORED or self.dtype == "bool":
                raise TargetError(f"{what} is a {self.dtype} stored as {kind!r:.40}; {', '.join(STORED)} can be read")
            self.stored = STORED[kind]
            if kind != "float16":
                self.scale = field(quantized, "scale", float, f"the quantization of {what}")
                self.least = field(quantized, "min", float, f"the quantization of {what}")
        self.quantized = quantized is not None
        self.count = prod(self.shape)
        self.stored_bytes = self.count * self.stored.itemsize

    def decode(self, data: memoryview) -> Tensor:
        array: NDArray[Any] = np.frombuffer(data, self.stored, self.count).reshape(self.shape)
        if self.quantized and self.stored.kind == "u":
            array = array.astype(np.float64) * self.scale + self.least
        if self.dtype == "int32":
            whole = np.floor(array.astype(np.float64) + 0.5).clip(-(2.0**31), 2.0**31 - 1)
            return torch.from_numpy(np.asarray(whole, dtype=np.int64))
        if self.dtype == "bool":
            return torch.from_numpy(np.asarray(array != 0))
        with np.errstate(over="ignore"):
            return torch.from_numpy(np.asarray(array, dtype=np.float32).copy())


def _shards(paths: list[Any], folder: Path, wanted: int) -> memoryview:
    files = [folder / _inside(path) for path in paths]
    try:
        there = sum(file.stat().st_size for file in files)
        data = b"".join(file.read_bytes() for file in files) if there == wanted else b""
    except OSError as error:
        raise TargetError(f"a file of weights cannot be read: {error}") from error
    if len(data) != wanted:
        raise TargetError(f"{', '.join(map(str, paths)):.200} hold {there} bytes, and their weights take {wanted}")
    return memoryview(data)


def _inside(path: Any) -> PurePosixPath:
    """Return a path relative to the folder of the manifest; TargetError where it may leave it."""
    relative = PurePosixPath(path) if isinstance(path, str) else None
    odd = isinstance(path, str) and any(letter in path for letter in "\\:\0")
    if relative is None or odd or relative.is_absolute() or ".." in relative.parts or not relative.parts:
        raise TargetError(f"the manifest names the file {path!r:.80}, which is none of its own folder")
    return relative
