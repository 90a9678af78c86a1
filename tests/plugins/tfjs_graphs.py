"""Small graphs of TensorFlow.js, written as its converter writes them."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

Nodes = list[dict[str, Any]]


def text(value: str) -> dict[str, str]:
    return {"s": base64.b64encode(value.encode()).decode()}


def integers(*values: int) -> dict[str, Any]:
    return {"list": {"i": [str(value) for value in values]}}


def texts(*values: str) -> dict[str, Any]:
    return {"list": {"s": [text(value)["s"] for value in values]}}


def node(name: str, op: str, *inputs: str, **attributes: Any) -> dict[str, Any]:
    return {"name": name, "op": op, "input": list(inputs), "attr": attributes}


def placeholder(*shape: int) -> dict[str, Any]:
    sides = {"dim": [{"size": str(side)} for side in shape]}
    return node("x", "Placeholder", dtype={"type": "DT_FLOAT"}, shape={"shape": sides})


def windows(padding: str, *strides: int, **more: Any) -> dict[str, Any]:
    """The attributes of a convolution or a pool."""
    return {"strides": integers(1, *strides, 1), "padding": text(padding), "data_format": text("NHWC"), **more}


def write_graph(folder: Path, nodes: Nodes, constants: dict[str, NDArray[Any]]) -> Path:
    """Write model.json and its shard; constants are float32 or int32 arrays, each with a node."""
    specs, data = [], b""
    for name, value in constants.items():
        dtype = "float32" if value.dtype.kind == "f" else "int32"
        specs.append({"name": name, "shape": list(value.shape), "dtype": dtype})
        data += value.astype("<f4" if dtype == "float32" else "<i4").tobytes()
    (folder / "shard.bin").write_bytes(data)
    file = folder / "model.json"
    model = {
        "format": "graph-model",
        "modelTopology": {"node": [*nodes, *(node(name, "Const") for name in constants)]},
        "weightsManifest": [{"paths": ["shard.bin"], "weights": specs}],
    }
    file.write_text(json.dumps(model))
    return file
