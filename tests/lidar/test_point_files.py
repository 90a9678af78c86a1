"""Clouds in files, also in those of strangers."""

import struct

import numpy as np
import pytest
import torch

from sparring.errors import InputError
from sparring.lidar import padded_clouds, read_points

CLOUD = np.array([[1.5, -2.0, 0.25], [3.0, 4.0, -1.0], [0.5, 0.5, 0.5]], dtype=np.float32)
LIGHT = np.array([0.25, 0.5, 1.0], dtype=np.float32)
PCD = """# .PCD v0.7
VERSION 0.7
FIELDS x y z normal intensity
SIZE 4 4 4 4 4
TYPE F F F F F
COUNT 1 1 1 2 1
WIDTH 3
HEIGHT 1
VIEWPOINT 0 0 0 1 0 0 0
POINTS 3
DATA """
TABLE = np.concatenate((CLOUD, np.zeros((3, 2), np.float32), LIGHT[:, None]), axis=1)


def lines(table):
    return "".join(" ".join(f"{number:g}" for number in row) + "\n" for row in table).encode()


def packed(raw):
    """LZF: the first bytes as literals, then one copy where all of the rest is the same byte."""
    body = b"".join(bytes([len(part) - 1]) + part for part in (raw[i : i + 32] for i in range(0, len(raw), 32)))
    return struct.pack("<II", len(body), len(raw)) + body


def ply(form, *properties, count=3):
    names = "".join(f"property {kind} {name}\n" for kind, name in properties)
    head = f"ply\nformat {form} 1.0\ncomment made here\nelement vertex {count}\n{names}"
    return f"{head}element face 0\nproperty list uchar int vertex_indices\nend_header\n".encode()


XYZI = (("float", "x"), ("float", "y"), ("float", "z"), ("float", "intensity"))
FOUR = np.concatenate((CLOUD, LIGHT[:, None]), axis=1)
COLUMNS = b"".join(np.ascontiguousarray(TABLE[:, part]).tobytes() for part in ([0], [1], [2], [3, 4], [5]))
MIXED = (("double", "x"), ("uchar", "red"), ("float", "y"), ("float", "z"), ("float", "scalar_intensity"))
FILES = {
    "scan.bin": FOUR.tobytes(),
    "ascii.pcd": PCD.encode() + b"ascii\n" + lines(TABLE),
    "binary.pcd": PCD.encode() + b"binary\n" + TABLE.tobytes(),
    "compressed.pcd": PCD.encode() + b"binary_compressed\n" + packed(COLUMNS),
    "ascii.ply": ply("ascii", *XYZI) + lines(FOUR),
    "little.ply": ply("binary_little_endian", *XYZI) + FOUR.tobytes(),
    "big.ply": ply("binary_big_endian", *MIXED) + b"".join(struct.pack(">dBfff", x, 7, y, z, i) for x, y, z, i in FOUR),
}


@pytest.mark.parametrize("name", FILES)
def test_each_format_gives_the_same_cloud(tmp_path, name):
    (tmp_path / name).write_bytes(FILES[name])
    cloud = read_points(tmp_path / name)
    assert torch.equal(cloud.points, torch.from_numpy(CLOUD))
    assert torch.equal(cloud.intensity, torch.from_numpy(LIGHT))


def test_copies_in_compressed_data_are_unpacked(tmp_path):
    """A hundred points at the origin but for the first: runs that copy themselves, long and short."""
    head = "FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nPOINTS 100\nDATA binary_compressed\n"
    raw = struct.pack("<f", 2.5) + b"\0" * 1196
    body, left = bytes([4]) + raw[:5], 1195
    while left:
        length = left if left <= 264 else min(264, left - 3)
        body += bytes([7 << 5, length - 9, 0]) if length >= 9 else bytes([(length - 2) << 5, 0])
        left -= length
    (tmp_path / "a.pcd").write_bytes(head.encode() + struct.pack("<II", len(body), 1200) + body)
    points = read_points(tmp_path / "a.pcd").points
    assert points.shape == (100, 3)
    assert points[0].tolist() == [2.5, 0, 0]
    assert float(points[1:].abs().sum()) == 0


def test_missing_returns_are_left_out(tmp_path):
    rows = np.concatenate((CLOUD, LIGHT[:, None]), axis=1)
    rows[1, 2] = np.nan
    (tmp_path / "a.bin").write_bytes(rows.astype("<f4").tobytes())
    assert torch.equal(read_points(tmp_path / "a.bin").points, torch.from_numpy(CLOUD[[0, 2]]))


HOSTILE = {
    "short.bin": b"123",
    "empty.bin": b"",
    "nan.bin": np.full((2, 4), np.nan, dtype="<f4").tobytes(),
    "many.pcd": PCD.replace("POINTS 3", "POINTS 40000000").encode() + b"binary\n" + bytes(100),
    "more.pcd": PCD.replace("POINTS 3", "POINTS 99999999999").encode() + b"ascii\n1 2 3 4 5 6\n",
    "negative.pcd": PCD.replace("POINTS 3", "POINTS -3").encode() + b"ascii\n",
    "type.pcd": PCD.replace("TYPE F", "TYPE O").encode() + b"binary\n" + bytes(100),
    "count.pcd": PCD.replace("COUNT 1", "COUNT 999999").encode() + b"binary\n" + bytes(100),
    "ragged.pcd": PCD.encode() + b"ascii\n1 2 3 4 5 6\n1 2\n1 2 3 4 5 6\n",
    "words.pcd": PCD.encode() + b"ascii\n1 2 3 4 5 six\n1 2 3 4 5 6\n1 2 3 4 5 6\n",
    "bomb.pcd": PCD.encode() + b"binary_compressed\n" + struct.pack("<II", 4, 4_000_000_000) + b"\xff" * 4,
    "damaged.pcd": PCD.encode() + b"binary_compressed\n" + struct.pack("<II", 4, 72) + b"\xff" * 4,
    "unknown.pcd": PCD.encode() + b"pickle\n",
    "endless.pcd": b"FIELDS x y z\n" * 10_000,
    "noz.ply": ply("ascii", ("float", "x"), ("float", "y")) + b"1 2\n" * 3,
    "list.ply": ply("ascii", ("list uchar", "x")) + b"1 2\n" * 3,
    "short.ply": ply("binary_little_endian", *XYZI, count=10_000_000) + bytes(16),
    "kind.ply": ply("pickle", *XYZI),
    "none.ply": b"plywood",
    "other.txt": b"1 2 3",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(HOSTILE[name])
    with pytest.raises(InputError, match=name):
        read_points(tmp_path / name)


def test_what_is_not_there_is_refused(tmp_path):
    for path in (tmp_path / "none.ply", tmp_path):
        with pytest.raises(InputError, match=str(path)):
            read_points(path)
    (tmp_path / "folder.bin").mkdir()
    with pytest.raises(InputError, match="folder"):
        read_points(tmp_path / "folder.bin")


def test_clouds_of_different_sizes_share_a_tensor():
    points, present = padded_clouds([torch.ones(2, 3), torch.ones(4, 3)])
    assert points.shape == (2, 4, 3)
    assert present.sum(1).tolist() == [2, 4]
    assert float(points.sum()) == 18
    for wrong in ([], [torch.ones(2, 4)], [torch.ones(2, 3).long()], [torch.ones(2, 3), torch.ones(2, 3).double()]):
        with pytest.raises(InputError):
            padded_clouds(wrong)
