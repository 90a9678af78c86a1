"""Point clouds in files: KITTI's .bin, PCD of the Point Cloud Library, PLY.

Files are data from strangers: what their header promises is held against their length before anything is read, numbers
are bounded, and nothing in them is executed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InputError

MOST_BYTES = 2 << 30
MOST_POINTS = 50_000_000
LONGEST_HEADER = 64 << 10  # bytes
MOST_FIELDS = 256
FORMATS = (".bin", ".pcd", ".ply")
PLY_TYPES = {
    "char": "i1",
    "uchar": "u1",
    "short": "i2",
    "ushort": "u2",
    "int": "i4",
    "uint": "u4",
    "float": "f4",
    "double": "f8",
    "int8": "i1",
    "uint8": "u1",
    "int16": "i2",
    "uint16": "u2",
    "int32": "i4",
    "uint32": "u4",
    "float32": "f4",
    "float64": "f8",
}
PCD_TYPES = {("F", 4), ("F", 8), *((kind, size) for kind in "IU" for size in (1, 2, 4, 8))}


@dataclass(frozen=True)
class PointCloud:
    """The cloud of a file.

    Args:
        points: (N, 3) float32 in metres, as the file has them.
        intensity: (N,) float32, as the file has it; None: it has none.
    """

    points: Tensor
    intensity: Tensor | None


def read_points(path: Path | str) -> PointCloud:
    """Return the cloud in a file: KITTI's `.bin`, `.pcd` (ascii, binary, binary_compressed) or `.ply` (ascii, binary).

    Points with a coordinate that is NaN or infinite (a scanner's missing returns) are left out.

    Raises: InputError where the file is not there, is no such file, or is shorter than it says.
    """
    path = Path(path).expanduser()
    kind = path.suffix.lower()
    if kind not in FORMATS:
        raise InputError(f"{path} is none of {', '.join(FORMATS)}; save the cloud as one of them")
    content = _content(path)
    columns = {".bin": _kitti, ".pcd": _pcd, ".ply": _ply}[kind](content, path)
    missing = [name for name in "xyz" if name not in columns]
    if missing:
        raise InputError(f"{path} has no field {missing[0]!r} (it has {', '.join(columns) or 'none'})")
    with np.errstate(over="ignore", invalid="ignore"):
        points = np.stack([columns[name].astype(np.float32) for name in "xyz"], axis=1)
    kept = np.isfinite(points).all(1)
    if not kept.any():
        raise InputError(f"{path} has no point with finite coordinates")
    given = columns.get("intensity")
    intensity = None
    if given is not None:
        with np.errstate(over="ignore", invalid="ignore"):
            intensity = torch.from_numpy(given.astype(np.float32)[kept])
    return PointCloud(torch.from_numpy(points[kept]), intensity)


def padded_clouds(clouds: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Return clouds (N_i, 3) as one tensor (B, N, 3), filled up with zeros, and which points are present (B, N) bool.

    Raises: InputError for no clouds, or one of another shape or dtype.
    """
    fine = bool(clouds) and all(isinstance(one, Tensor) and one.ndim == 2 and one.shape[1] == 3 for one in clouds)
    if not fine or len({one.dtype for one in clouds}) > 1 or not clouds[0].is_floating_point():
        raise InputError("pass a list of clouds (N, 3) of one float dtype, one at least")
    sizes = torch.tensor([len(one) for one in clouds])
    points = torch.nn.utils.rnn.pad_sequence(clouds, batch_first=True)
    return points, torch.arange(points.shape[1]) < sizes[:, None]


Columns = dict[str, NDArray[np.generic]]


def _content(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise InputError(f"{path} has {size:,} bytes, and the most are {MOST_BYTES:,}; split it")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def _kitti(content: bytes, path: Path) -> Columns:
    """Four float32 in little endian for each point: x, y, z, reflectance."""
    if not content or len(content) % 16:
        raise InputError(f"{path} has {len(content)} bytes; a KITTI scan has 16 for each point, and one at least")
    rows = np.frombuffer(content, dtype="<f4").reshape(-1, 4)
    _check_count(len(rows), path)
    return {"x": rows[:, 0], "y": rows[:, 1], "z": rows[:, 2], "intensity": rows[:, 3]}


def _header(content: bytes, last: bytes, path: Path) -> tuple[list[list[str]], int]:
    """Return the words of the header's lines up to the one that begins with `last`, and where the data begin."""
    lines, start = [], 0
    while True:
        end = content.find(b"\n", start, LONGEST_HEADER)
        if end < 0:
            raise InputError(f"{path} has no line {last.decode()!r} in its first {LONGEST_HEADER:,} bytes")
        line = content[start:end].rstrip(b"\r")
        start = end + 1
        try:
            lines.append(line.decode("ascii").split())
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: its header is no ASCII text") from error
        if line.split()[:1] == [last]:
            return lines, start


def _whole(word: str, what: str, path: Path, most: int = MOST_POINTS) -> int:
    """Return the number that a header says; InputError where it is none from 0 to `most`."""
    if not (word.isascii() and word.isdigit() and len(word) <= 12) or int(word) > most:
        raise InputError(f"{path}: {what} {word[:20]!r} is no number from 0 to {most:,}")
    return int(word)


def _check_count(count: int, path: Path) -> None:
    if not 0 < count <= MOST_POINTS:
        raise InputError(f"{path} has {count:,} points; there may be 1 to {MOST_POINTS:,}")


def _rows(data: bytes, layout: list[tuple[str, str, int]], count: int, path: Path) -> Columns:
    """Return the fields of `count` packed records; `layout` has name, dtype and number of each."""
    _check_count(count, path)
    record = np.dtype([(f"f{place}", kind, (many,)) for place, (_, kind, many) in enumerate(layout)])
    if record.itemsize * count > len(data):
        raise InputError(
            f"{path} promises {count:,} points of {record.itemsize} bytes, and {len(data):,} bytes follow its header"
        )
    table = np.frombuffer(data, dtype=record, count=count)
    return {name: table[f"f{place}"][:, 0] for place, (name, _, many) in enumerate(layout) if many}


def _text(data: bytes, names: list[str], count: int, path: Path, widths: list[int] | None = None) -> Columns:
    """Return the fields of `count` lines of numbers."""
    _check_count(count, path)
    widths = widths or [1] * len(names)
    if 2 * sum(widths) * count > len(data) + 1:
        raise InputError(f"{path} promises {count:,} lines of {sum(widths)} numbers, and {len(data):,} bytes follow")
    lines = data.split(b"\n", count)[:count]
    try:
        table = np.array([line.split() for line in lines], dtype=np.float64)
    except ValueError as error:
        raise InputError(f"{path}: not every line has {sum(widths)} numbers") from error
    if table.shape != (count, sum(widths)):
        raise InputError(f"{path}: its data are {table.shape}, and the header says {(count, sum(widths))}")
    starts = np.cumsum([0, *widths])
    return {name: table[:, start] for name, start, many in zip(names, starts[:-1], widths, strict=True) if many}


def _pcd(content: bytes, path: Path) -> Columns:
    """PCD 0.7: FIELDS, SIZE, TYPE, COUNT, POINTS, DATA."""
    lines, start = _header(content, b"DATA", path)
    header = {words[0].upper(): words[1:] for words in lines if words and not words[0].startswith("#")}
    names, sizes, kinds = (header.get(word, []) for word in ("FIELDS", "SIZE", "TYPE"))
    counts = header.get("COUNT", ["1"] * len(names))
    if not 0 < len(names) <= MOST_FIELDS or not len(names) == len(sizes) == len(kinds) == len(counts):
        raise InputError(f"{path}: FIELDS, SIZE, TYPE and COUNT of a PCD file are lists of one length")
    layout = []
    for name, size, kind, many in zip(names, sizes, kinds, counts, strict=True):
        wide = _whole(size, "SIZE", path, 8)
        if (kind.upper(), wide) not in PCD_TYPES:
            raise InputError(f"{path}: field {name[:20]!r} has TYPE {kind[:5]} and SIZE {wide}, which PCD has not")
        layout.append((name, f"<{kind.lower()}{wide}", _whole(many, "COUNT", path, 4096)))
    points = header.get("POINTS") or [str(math.prod(_whole(one, "WIDTH", path) for one in _size(header, path)))]
    count, data = _whole(points[0], "POINTS", path), content[start:]
    form = "".join(header["DATA"][:1]).lower()
    if form == "binary":
        return _rows(data, layout, count, path)
    if form == "binary_compressed":
        return _pcd_columns(data, layout, count, path)
    if form == "ascii":
        return _text(data, names, count, path, [many for _, _, many in layout])
    raise InputError(f"{path}: DATA {form[:20]!r} is unknown; PCD has ascii, binary and binary_compressed")


def _size(header: dict[str, list[str]], path: Path) -> list[str]:
    size = [*header.get("WIDTH", [])[:1], *header.get("HEIGHT", [])[:1]]
    if len(size) != 2:
        raise InputError(f"{path} says neither POINTS nor WIDTH and HEIGHT")
    return size


def _pcd_columns(data: bytes, layout: list[tuple[str, str, int]], count: int, path: Path) -> Columns:
    """Return the fields of compressed data, where each field's values lie together."""
    _check_count(count, path)
    if len(data) < 8:
        raise InputError(f"{path} ends within the sizes of its compressed data")
    packed, full = (int(one) for one in np.frombuffer(data[:8], dtype="<u4"))
    sizes = [np.dtype(kind).itemsize * many * count for _, kind, many in layout]
    if full != sum(sizes) or packed > len(data) - 8:
        raise InputError(
            f"{path}: {packed:,} bytes of {full:,} are promised, and {len(data) - 8:,} of {sum(sizes):,} fit"
        )
    if full > MOST_BYTES:
        raise InputError(f"{path} would unpack to {full:,} bytes, and the most are {MOST_BYTES:,}; split it")
    raw, found, start = _lzf(data[8 : 8 + packed], full, path), {}, 0
    for (name, kind, many), size in zip(layout, sizes, strict=True):
        if many:
            found[name] = np.frombuffer(raw, dtype=kind, count=count * many, offset=start).reshape(count, many)[:, 0]
        start += size
    return found


def _lzf(packed: bytes, full: int, path: Path) -> bytes:
    """Unpack LZF (Lehmann's liblzf): runs of literals, and copies of what came before."""
    out, at = bytearray(), 0
    try:
        while at < len(packed):
            control = packed[at]
            at += 1
            if control < 32:
                if at + control + 1 > len(packed):
                    raise IndexError
                out += packed[at : at + control + 1]
                at += control + 1
            else:
                length = control >> 5
                if length == 7:
                    length += packed[at]
                    at += 1
                back = ((control & 31) << 8) + packed[at] + 1
                at += 1
                length += 2
                if back > len(out):
                    raise IndexError
                chunk = bytes(out[-back : len(out) - back + length])
                out += (chunk * (length // len(chunk) + 1))[:length]
            if len(out) > full:
                raise IndexError
    except IndexError as error:
        raise InputError(f"{path}: its compressed data are damaged") from error
    if len(out) != full:
        raise InputError(f"{path}: its compressed data unpack to {len(out):,} bytes, and {full:,} are promised")
    return bytes(out)


def _ply(content: bytes, path: Path) -> Columns:
    """PLY 1.0: the element `vertex`, before which no other element may stand."""
    if not content.startswith(b"ply"):
        raise InputError(f"{path} is no PLY file: it does not begin with 'ply'")
    lines, start = _header(content, b"end_header", path)
    form, count, layout, current = "", -1, [], ""
    for words in lines[1:]:
        if words[:1] == ["format"] and len(words) > 1:
            form = words[1]
        elif words[:1] == ["element"] and len(words) == 3:
            if not current and words[1] != "vertex":
                raise InputError(f"{path}: its first element is {words[1][:20]!r}; points are read of 'vertex' alone")
            current = words[1]
            count = _whole(words[2], "element vertex", path) if current == "vertex" else count
        elif words[:1] == ["property"] and current == "vertex":
            if len(words) != 3 or words[1] not in PLY_TYPES:
                raise InputError(f"{path}: the property {' '.join(words[1:])[:40]!r} of a vertex is no single number")
            layout.append((words[2], PLY_TYPES[words[1]]))
    if count < 0 or not 0 < len(layout) <= MOST_FIELDS:
        raise InputError(f"{path} has no element vertex with properties")
    data = content[start:]
    names = [
        "intensity" if name in ("scalar_intensity", "scalar_Intensity", "reflectance") else name for name, _ in layout
    ]
    if form == "ascii":
        return _text(data, names, count, path)
    order = {"binary_little_endian": "<", "binary_big_endian": ">"}.get(form)
    if order is None:
        raise InputError(
            f"{path}: format {form[:30]!r} is unknown; PLY has ascii, binary_little_endian and binary_big_endian"
        )
    return _rows(data, [(name, order + kind, 1) for name, (_, kind) in zip(names, layout, strict=True)], count, path)
