"""`npz:FILE`: NumPy arrays `images` and, where there are any, `labels`. A stream; pickles are refused.

What a header promises is compared with the size of the member before anything of that size is read.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ..errors import InputError, nearest
from . import arrays
from .dataset import OWN_PREDICTION, Data, DataRequest, Row
from .labels import class_labels

READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
BROKEN = (OSError, EOFError, ValueError, RuntimeError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error)
LABELS = ("labels", "label", "targets", "target", "y")
HEADER_LIMIT = 65_536  # bytes in which the header of an array must end
LABELS_LIMIT = 2**30  # bytes
HIGHEST_RATIO = 1100  # of deflate, rounded up


@dataclass(frozen=True)
class ArrayHeader:
    """What the header of an array in the archive says, and where its values begin."""

    shape: tuple[int, ...]
    kind: np.dtype[Any]
    offset: int
    fortran: bool  # the first axis runs fastest, so that no image lies in one piece


def npz_file(path: Path, wanted: DataRequest) -> Data:
    """Return the data of `npz:FILE`; InputError where it cannot be read."""
    name = f"npz:{path}"
    if wanted.label_file is not None:
        raise InputError(
            f"{name} has its labels in an array of the file, 'labels'; a table of labels is for folder:DIR"
        )
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path} is no file; name one that numpy.savez wrote")
        with zipfile.ZipFile(path) as archive:
            header, labels, rest = read_shape_and_labels(name, archive)
    except BROKEN as error:
        raise InputError(f"{path} cannot be read as an .npz file ({error}); write it with numpy.savez") from error
    shape = header.shape
    order = arrays.array_layout(name, shape, wanted.input)
    known = wanted.classes, wanted.class_names
    checked = None if labels is None else class_labels(name, labels[1], shape[0], *known)
    count = min(wanted.limit or shape[0], shape[0])
    note = OWN_PREDICTION if checked is None or labels is None else f"labels: the array '{labels[0]}'"
    note += f"; not read: the arrays {', '.join(rest)}" if rest else ""

    def rows() -> Iterator[Row]:
        return arrays.array_rows(name, stream_images(path, count), checked, order, wanted.scale)

    return Data(name, checked is not None, note, wanted.class_names, count, rows)


def read_shape_and_labels(
    name: str, archive: zipfile.ZipFile
) -> tuple[ArrayHeader, tuple[str, NDArray[Any]] | None, list[str]]:
    """Return the header of the images, the labels with their name where there are any, and the names of the rest."""
    held = [member.removesuffix(".npy") for member in archive.namelist()]
    if "images" not in held:
        has = ", ".join(held) or "nothing"
        raise InputError(f"{name} holds {has}; it needs an array 'images'.{nearest('images', held)}")
    header = read_header(name, archive, "images")
    if header.fortran:
        raise InputError(f"{name}: 'images' is in Fortran order; save numpy.ascontiguousarray(images)")
    there = [one for one in held if one.casefold() in LABELS]
    if len(there) > 1:
        raise InputError(f"{name} holds {' and '.join(there)}, and only one of them can be the labels; leave one out")
    rest = [one for one in held if one != "images" and one not in there]
    if not there:
        return header, None, rest
    labels = read_header(name, archive, there[0])
    if labels.shape[:1] != header.shape[:1] or prod(labels.shape) * labels.kind.itemsize > LABELS_LIMIT:
        count = header.shape[0] if header.shape else 0
        raise InputError(f"{name}: labels of shape {labels.shape} beside {count} images; one label per image is needed")
    return header, (there[0], read_member(name, archive, there[0])), rest


def read_member(name: str, archive: zipfile.ZipFile, array: str) -> NDArray[Any]:
    """Return an array of an archive, after a look at what its header promises; InputError as for `read_header`."""
    read_header(name, archive, array)
    with archive.open(f"{array}.npy") as member:
        found: NDArray[Any] = npy.read_array(member, allow_pickle=False)
        return found


def stream_images(path: Path, count: int) -> Iterator[NDArray[Any]]:
    """Yield the first `count` images, one at a time."""
    name = f"npz:{path}"
    try:
        with zipfile.ZipFile(path) as archive:
            header = read_header(name, archive, "images")
            size = prod(header.shape[1:]) * header.kind.itemsize
            with archive.open("images.npy") as member:
                member.read(header.offset)
                for _ in range(count):
                    block = member.read(size)
                    if len(block) != size:
                        raise InputError(f"{name} ends in the middle of an image; write it again")
                    yield np.frombuffer(block, dtype=header.kind).reshape(header.shape[1:])
    except BROKEN as error:
        raise InputError(f"{name} cannot be read to its end ({error}); write it again") from error


def read_header(name: str, archive: zipfile.ZipFile, array: str) -> ArrayHeader:
    """Return what the header of an array says; InputError where the archive does not hold as much, or pickles."""
    info = archive.getinfo(f"{array}.npy")
    with archive.open(info) as member:
        start = io.BytesIO(member.read(HEADER_LIMIT))
    version = npy.read_magic(start)
    if version not in READERS:
        raise InputError(f"{name}: '{array}' is an array file of version {version}; write it with numpy.savez")
    shape, fortran, kind = READERS[version](start)
    if kind.hasobject:
        raise InputError(
            f"{name}: '{array}' holds pickled objects, which are never run; save numbers, or words as text"
        )
    size = info.file_size - start.tell()
    if info.file_size > HIGHEST_RATIO * max(info.compress_size, 1):
        raise InputError(
            f"{name}: '{array}' promises {info.file_size} bytes out of {info.compress_size}, more than numpy's "
            "compression can; write it with numpy.savez"
        )
    if any(side < 0 for side in shape) or prod(shape) * kind.itemsize != size:
        raise InputError(
            f"{name}: '{array}' has a header that promises shape {shape} of {kind}, and {size} bytes follow; write it "
            "again"
        )
    return ArrayHeader(shape, kind, start.tell(), fortran and len(shape) > 1)
