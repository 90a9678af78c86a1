"""Weights of TensorFlow.js: what is stored in which way, and files that are not what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sparring.errors import TargetError
from sparring.zoo.tfjs import load_graph_model, read_weights


def entry(name: str, shape: list[int], dtype: str = "float32") -> dict[str, Any]:
    return {"name": name, "shape": shape, "dtype": dtype}


def test_each_kind_of_storage_gives_its_numbers(tmp_path: Path) -> None:
    real = np.array([[1.5, -2.0]], "<f4")
    half = np.array([0.1, 65504.0, -0.0], "<f2")
    bytes_ = np.array([0, 7, 255], "u1")
    words = np.array([0, 65535], "<u2")
    whole = np.array([-3, 2**31 - 1], "<i4")
    flags = np.array([0, 1], "u1")
    specs = [
        entry("real", [1, 2]),
        entry("half", [3]) | {"quantization": {"dtype": "float16"}},
        entry("bytes", [3]) | {"quantization": {"dtype": "uint8", "scale": 0.1, "min": -3}},
        entry("words", [2]) | {"quantization": {"dtype": "uint16", "scale": 1e-3, "min": 1.25}},
        entry("whole", [2], "int32"),
        entry("rounded", [], "int32") | {"quantization": {"dtype": "uint8", "scale": 0.5, "min": -1}},
        entry("flags", [2], "bool"),
        entry("empty", [0, 4]),
    ]
    data = b"".join(one.tobytes() for one in (real, half, bytes_, words, whole, np.array([5], "u1"), flags))
    (tmp_path / "a.bin").write_bytes(data[:7])
    (tmp_path / "b.bin").write_bytes(data[7:])
    found = read_weights([{"paths": ["a.bin", "b.bin"], "weights": specs}], tmp_path)
    assert found["real"].tolist() == [[1.5, -2.0]]
    assert found["half"].tolist() == [float(np.float32(one)) for one in half]
    # in float64 and rounded once, as JavaScript computes it
    assert found["bytes"].tolist() == [float(np.float32(q * 0.1 - 3)) for q in (0, 7, 255)]
    assert found["words"].tolist() == [float(np.float32(q * 1e-3 + 1.25)) for q in (0, 65535)]
    assert found["whole"].tolist() == [-3, 2**31 - 1]
    assert found["rounded"].item() == 2  # 1.5, half upwards
    assert found["flags"].tolist() == [False, True]
    assert found["empty"].shape == (0, 4)
    assert found["bytes"].dtype == torch.float32


GOOD = entry("w", [2])
HOSTILE: dict[str, tuple[Any, str]] = {
    "no list": ({"a": 1}, "list of groups"),
    "no weights": ([{"paths": ["w.bin"]}], "has no weights"),
    "file above": ([{"paths": ["../w.bin"], "weights": [GOOD]}], "none of its own folder"),
    "absolute file": ([{"paths": ["/etc/passwd"], "weights": [GOOD]}], "none of its own folder"),
    "drive": ([{"paths": ["C:w.bin"], "weights": [GOOD]}], "none of its own folder"),
    "file is a number": ([{"paths": [3], "weights": [GOOD]}], "none of its own folder"),
    "missing file": ([{"paths": ["v.bin"], "weights": [GOOD]}], "cannot be read"),
    "too short": ([{"paths": ["w.bin"], "weights": [entry("w", [3])]}], "hold 8 bytes, and their weights take 12"),
    "too long": ([{"paths": ["w.bin"], "weights": [entry("w", [])]}], "hold 8 bytes, and their weights take 4"),
    "huge": ([{"paths": ["w.bin"], "weights": [entry("w", [2**40, 2**40])]}], "more than"),
    "negative": ([{"paths": ["w.bin"], "weights": [entry("w", [-2, -1])]}], "shape"),
    "many axes": ([{"paths": ["w.bin"], "weights": [entry("w", [1] * 9)]}], "shape"),
    "bool as a size": ([{"paths": ["w.bin"], "weights": [entry("w", [True, 2])]}], "shape"),
    "unknown dtype": ([{"paths": ["w.bin"], "weights": [entry("w", [2], "string")]}], "'string'"),
    "unknown storage": (
        [{"paths": ["w.bin"], "weights": [GOOD | {"quantization": {"dtype": "int4"}}]}],
        "'int4'",
    ),
    "no scale": ([{"paths": ["w.bin"], "weights": [GOOD | {"quantization": {"dtype": "uint8"}}]}], "no scale"),
    "infinite scale": (
        [{"paths": ["w.bin"], "weights": [GOOD | {"quantization": {"dtype": "uint8", "scale": 1e999, "min": 0}}]}],
        "no finite number",
    ),
    "twice": ([{"paths": ["w.bin"], "weights": [entry("w", []), entry("w", [])]}], "twice"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_manifest_that_cannot_be_trusted_is_refused(what: str, tmp_path: Path) -> None:
    manifest, message = HOSTILE[what]
    (tmp_path / "w.bin").write_bytes(b"\0" * 8)
    with pytest.raises(TargetError, match=message):
        read_weights(manifest, tmp_path)


@pytest.mark.parametrize("content", ["[" * 100_000, "{", "[]", "\udc80", '{"modelTopology": 3, "weightsManifest": []}'])
def test_what_is_no_model_is_refused(content: str, tmp_path: Path) -> None:
    file = tmp_path / "model.json"
    file.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(TargetError):
        load_graph_model(file)
    with pytest.raises(TargetError, match=r"other\.json"):
        load_graph_model(tmp_path / "other.json")
