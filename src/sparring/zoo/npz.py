"""`npz:FILE`: NumPy arrays `images` and, where there are any, `labels`. A stream; pickles are refused."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ..errors import InputError, nearest
from . import arrays
from .dataset import OWN_PREDICTION, Data, DataRequest, Row

READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
BROKEN = (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error)


def npz_file(path: Path, wanted: DataRequest) -> Data:
    """Return the data of `npz:FILE`; InputError where it cannot be read."""
    name = f"npz:{path}"
    try:
        with zipfile.ZipFile(path) as archive:
            shape, labels = read_shape_and_labels(name, archive)
    except BROKEN as error:
        raise InputError(f"{path} cannot be read as an .npz file ({error}); write it with numpy.savez") from error
    order = arrays.array_layout(name, shape, wanted.input)
    checked = None if labels is None else arrays.array_labels(name, labels, shape[0], wanted.classes)
    count = min(wanted.limit or shape[0], shape[0])
    note = OWN_PREDICTION if checked is None else "labels: the array 'labels'"

    def rows() -> Iterator[Row]:
        return arrays.array_rows(name, stream_images(path, count), checked, order)

    return Data(name, checked is not None, note, wanted.class_names, count, rows)


def read_shape_and_labels(name: str, archive: zipfile.ZipFile) -> tuple[tuple[int, ...], NDArray[Any] | None]:
    """Return the shape of the images, and the labels where there are any."""
    held = [member.removesuffix(".npy") for member in archive.namelist()]
    if "images" not in held:
        has = ", ".join(held) or "nothing"
        raise InputError(f"{name} holds {has}; it needs an array 'images'.{nearest('images', held)}")
    with archive.open("images.npy") as member:
        shape, _ = read_header(name, member)
    if "labels" not in held:
        return shape, None
    with archive.open("labels.npy") as member:
        return shape, npy.read_array(member, allow_pickle=False)


def stream_images(path: Path, count: int) -> Iterator[NDArray[Any]]:
    """Yield the first `count` images, one at a time."""
    name = f"npz:{path}"
    try:
        with zipfile.ZipFile(path) as archive, archive.open("images.npy") as member:
            shape, kind = read_header(name, member)
            size = prod(shape[1:]) * kind.itemsize
            for _ in range(count):
                block = member.read(size)
                if len(block) != size:
                    raise InputError(f"{name} ends in the middle of an image; write it again")
                yield np.frombuffer(block, dtype=kind).reshape(shape[1:])
    except BROKEN as error:
        raise InputError(f"{name} cannot be read to its end ({error}); write it again") from error


def read_header(name: str, member: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and type of the array that `member` starts with."""
    version = npy.read_magic(member)
    if version not in READERS:
        raise InputError(f"{name}: 'images' is an array file of version {version}; write it with numpy.savez")
    shape, fortran, kind = READERS[version](member)
    if kind.hasobject:
        raise InputError(f"{name}: 'images' holds pickled objects, which are never run; save uint8 or float")
    if fortran and len(shape) > 1:
        raise InputError(f"{name}: 'images' is in Fortran order; save numpy.ascontiguousarray(images)")
    return shape, kind
