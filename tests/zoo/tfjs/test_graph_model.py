"""Graphs of TensorFlow.js as modules: each operation against NumPy, gradients, batches, and graphs that are refused."""

from __future__ import annotations

import copy
import json
import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tfjs_graphs import Nodes, integers, node, placeholder, text, texts, windows, write_graph

from sparring.errors import InputError, TargetError
from sparring.module_identity import module_identity
from sparring.zoo.tfjs import load_graph_model

Array = NDArray[Any]
RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.normal(size=(2, 7, 6, 3)).astype("f4")


def answer(folder: Path, nodes: Nodes, constants: dict[str, Array], x: Array = IMAGE) -> Array:
    """What the last node makes of x, in float64."""
    file = write_graph(folder, [placeholder(-1, *x.shape[1:]), *nodes], constants)
    (found,) = load_graph_model(file, [nodes[-1]["name"]]).double()(torch.from_numpy(x).double())
    return found.detach().numpy()


def naive_windows(x: Array, kernel: tuple[int, int], stride: int, dilation: int, same: bool) -> list[list[Array]]:
    """The pixels under each window, NaN outside of the image: by TensorFlow's definition of SAME, pixel by pixel."""
    rows = []
    counts, starts = [], []
    for axis in (0, 1):
        side, reach = x.shape[1 + axis], (kernel[axis] - 1) * dilation + 1
        counts.append(-(-side // stride) if same else -(-(side - reach + 1) // stride))
        starts.append(max((counts[axis] - 1) * stride + reach - side, 0) // 2 if same else 0)
    for i in range(counts[0]):
        row = []
        for j in range(counts[1]):
            window = np.full((len(x), *kernel, x.shape[3]), np.nan)
            for a in range(kernel[0]):
                for b in range(kernel[1]):
                    down = i * stride - starts[0] + a * dilation
                    right = j * stride - starts[1] + b * dilation
                    if 0 <= down < x.shape[1] and 0 <= right < x.shape[2]:
                        window[:, a, b] = x[:, down, right]
            row.append(window)
        rows.append(row)
    return rows


def over(rows: list[list[Array]], function: Callable[[Array], Array]) -> Array:
    return np.stack([np.stack([function(one) for one in row], 1) for row in rows], 1)


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"), [((3, 3), 1, 1), ((3, 2), 2, 1), ((2, 3), 3, 1), ((3, 3), 1, 2)]
)
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_convolutions_are_those_of_numpy(
    padding: str, kernel: tuple[int, int], stride: int, dilation: int, tmp_path: Path
) -> None:
    full, deep = RANDOM.normal(size=(*kernel, 3, 5)), RANDOM.normal(size=(*kernel, 3, 2))
    attributes = windows(padding, stride, stride, dilations=integers(1, dilation, dilation, 1))
    rows = naive_windows(IMAGE, kernel, stride, dilation, padding == "SAME")
    found = answer(tmp_path, [node("y", "Conv2D", "x", "w", **attributes)], {"w": full})
    wanted = over(rows, lambda v: np.einsum("nabc,abcd->nd", np.nan_to_num(v), full.astype("f4")))
    np.testing.assert_allclose(found, wanted, atol=1e-12)
    found = answer(tmp_path, [node("y", "DepthwiseConv2dNative", "x", "w", **attributes)], {"w": deep})
    wanted = over(rows, lambda v: np.einsum("nabc,abcm->ncm", np.nan_to_num(v), deep.astype("f4")).reshape(len(v), -1))
    np.testing.assert_allclose(found, wanted, atol=1e-12)


@pytest.mark.parametrize(("kernel", "stride"), [((2, 2), 2), ((3, 3), 2), ((3, 2), 1), ((2, 3), 3)])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_a_transposed_convolution_is_the_adjoint_of_the_convolution(
    padding: str, kernel: tuple[int, int], stride: int, tmp_path: Path
) -> None:
    filters = RANDOM.normal(size=(*kernel, IMAGE.shape[3], 2)).astype("f4")
    rows = naive_windows(IMAGE, kernel, stride, 1, padding == "SAME")
    forward = over(rows, lambda v: np.einsum("nabc,abcd->nd", np.nan_to_num(v), filters))
    y = RANDOM.normal(size=forward.shape)
    attributes = windows(padding, stride, stride)
    nodes = [node("t", "Conv2DBackpropInput", "size", "w", "x", **attributes)]
    found = answer(tmp_path, nodes, {"w": filters, "size": np.array(IMAGE.shape, dtype="i4")}, y)
    assert found.shape == IMAGE.shape
    assert float((found * IMAGE).sum()) == pytest.approx(float((forward * y).sum()), abs=1e-9)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(("op", "reduce"), [("MaxPool", np.nanmax), ("AvgPool", np.nanmean)])
def test_pools_leave_the_padding_out(op: str, reduce: Callable[..., Array], padding: str, tmp_path: Path) -> None:
    attributes = windows(padding, 2, 2, ksize=integers(1, 3, 3, 1))
    x = IMAGE - 5  # a pool that counted zeros would find them the largest
    found = answer(tmp_path, [node("y", op, "x", **attributes)], {}, x)
    rows = naive_windows(x, (3, 3), 2, 1, padding == "SAME")
    np.testing.assert_allclose(found, over(rows, lambda v: reduce(v, axis=(1, 2))), atol=1e-12)


def place_of(convention: str, out: int, size: int, new: int) -> float:
    if convention == "align_corners":
        return out * (size - 1) / (new - 1)
    return (out + 0.5) * size / new - 0.5 if convention == "half_pixel_centers" else out * size / new


@pytest.mark.parametrize("convention", ["legacy", "align_corners", "half_pixel_centers"])
@pytest.mark.parametrize("size", [(14, 9), (3, 4)])
def test_resizing_keeps_to_the_convention_of_the_graph(convention: str, size: tuple[int, int], tmp_path: Path) -> None:
    attributes = {} if convention == "legacy" else {convention: {"b": True}}
    constants = {"size": np.array(size)}
    bilinear = answer(tmp_path, [node("y", "ResizeBilinear", "x", "size", **attributes)], constants)
    wanted = IMAGE.astype(float)
    for axis, new in zip((1, 2), size, strict=True):
        old = wanted.shape[axis]
        places = np.clip([place_of(convention, out, old, new) for out in range(new)], 0, old - 1)
        wanted = np.apply_along_axis(lambda line, p=places, n=old: np.interp(p, np.arange(n), line), axis, wanted)
    np.testing.assert_allclose(bilinear, wanted, atol=1e-12)
    nearest = answer(tmp_path, [node("y", "ResizeNearestNeighbor", "x", "size", **attributes)], constants)
    wanted = IMAGE
    for axis, new in zip((1, 2), size, strict=True):
        places = np.array([place_of(convention, out, wanted.shape[axis], new) for out in range(new)])
        places = np.floor(places + (0.0 if convention == "legacy" else 0.5) + 1e-9).clip(0, wanted.shape[axis] - 1)
        wanted = wanted.take(places.astype(int), axis)
    np.testing.assert_array_equal(nearest, wanted)


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


V = RANDOM.normal(size=(3,)).astype("f4")
M = RANDOM.normal(size=(4, 3)).astype("f4")
TWO_AXES = {"a": np.array([1, -2])}
SIMPLE: dict[str, tuple[Nodes, dict[str, Array], Callable[[Array], Array]]] = {
    "Relu6": ([node("y", "Relu6", "x")], {}, lambda x: x.clip(0, 6)),
    "Elu": ([node("y", "Elu", "x")], {}, lambda x: np.where(x > 0, x, np.expm1(x))),
    "Sigmoid": ([node("y", "Sigmoid", "x")], {}, sigmoid),
    "Prelu": ([node("y", "Prelu", "x", "v")], {"v": V}, lambda x: np.where(x > 0, x, x * V)),
    "LeakyRelu": ([node("y", "LeakyRelu", "x", alpha={"f": 0.3})], {}, lambda x: np.where(x > 0, x, 0.3 * x)),
    "Softmax": ([node("y", "Softmax", "x")], {}, lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True)),
    "BiasAdd": ([node("y", "BiasAdd", "x", "v")], {"v": V}, lambda x: x + V),
    "Sub": ([node("y", "Sub", "v", "x")], {"v": V}, lambda x: V - x),
    "RealDiv": ([node("y", "RealDiv", "x", "v")], {"v": V}, lambda x: x / V),
    "Minimum": ([node("y", "Minimum", "x", "s")], {"s": np.float32(0.5)}, lambda x: np.minimum(x, 0.5)),
    "AddN": ([node("y", "AddN", "x", "x", "x")], {}, lambda x: 3 * x),
    "Mean": ([node("y", "Mean", "x", "a")], TWO_AXES, lambda x: x.mean((1, 2))),
    "Sum": ([node("y", "Sum", "x", "a", keep_dims={"b": True})], TWO_AXES, lambda x: x.sum((1, 2), keepdims=True)),
    "Max": ([node("y", "Max", "x", "a")], TWO_AXES, lambda x: x.max((1, 2))),
    "Transpose": ([node("y", "Transpose", "x", "p")], {"p": np.array([0, 3, 1, 2])}, lambda x: x.transpose(0, 3, 1, 2)),
    "Pad": (
        [node("y", "Pad", "x", "p")],
        {"p": np.array([[0, 0], [1, 2], [0, 3], [1, 0]])},
        lambda x: np.pad(x, ((0, 0), (1, 2), (0, 3), (1, 0))),
    ),
    "PadV2": (
        [node("y", "PadV2", "x", "p", "s")],
        {"p": np.array([[0, 0], [1, 0], [0, 0], [0, 0]]), "s": np.float32(-2)},
        lambda x: np.pad(x, ((0, 0), (1, 0), (0, 0), (0, 0)), constant_values=-2),
    ),
    "ConcatV2": ([node("y", "ConcatV2", "x", "x", "a")], {"a": np.int32(-1)}, lambda x: np.concatenate((x, x), -1)),
    "ExpandDims and Squeeze": (
        [node("e", "ExpandDims", "x", "a"), node("y", "Squeeze", "e", squeeze_dims=integers(1))],
        {"a": np.int32(1)},
        lambda x: x,
    ),
    "StridedSlice": (
        [
            node(
                "y",
                "StridedSlice",
                "x",
                "b",
                "e",
                "s",
                begin_mask={"i": "5"},
                end_mask={"i": "5"},
                shrink_axis_mask={"i": "8"},
            )
        ],
        {"b": np.array([0, -4, 0, -1]), "e": np.array([0, -1, 0, 0]), "s": np.array([1, 2, -1, 1])},
        lambda x: x[:, -4:-1:2, ::-1, -1],
    ),
    "Split": (
        [node("p", "Split", "a", "x", num_split={"i": "3"}), node("y", "Identity", "p:2")],
        {"a": np.int32(3)},
        lambda x: x[..., 2:],
    ),
    "SplitV": (
        [node("p", "SplitV", "x", "n", "a"), node("y", "Identity", "p:1")],
        {"n": np.array([1, -1]), "a": np.int32(3)},
        lambda x: x[..., 1:],
    ),
    "GatherV2": (
        [node("y", "GatherV2", "x", "i", "a")],
        {"i": np.array([[2, 0], [0, 1]]), "a": np.int32(-1)},
        lambda x: x[..., np.array([[2, 0], [0, 1]])],
    ),
    "TopKV2": (
        [
            node("t", "TopKV2", "x", "k"),
            node("c", "Cast", "t:1", DstT={"type": "DT_FLOAT"}),
            node("y", "Add", "t", "c"),
        ],
        {"k": np.int32(2)},
        lambda x: np.sort(x)[..., ::-1][..., :2] + np.argsort(-x)[..., :2],
    ),
    "Shape, StridedSlice, Pack, Reshape": (
        [
            node("shape", "Shape", "x"),
            node("n", "StridedSlice", "shape", "zero", "one", "one", shrink_axis_mask={"i": "1"}),
            node("sides", "Pack", "n", "rest", axis={"i": "0"}),
            node("y", "Reshape", "x", "sides"),
        ],
        {"zero": np.array([0]), "one": np.array([1]), "rest": np.int32(-1)},
        lambda x: x.reshape(len(x), -1),
    ),
    "_FusedMatMul": (
        [
            node("f", "Mean", "x", "a"),
            node("y", "_FusedMatMul", "f", "m", "b", transpose_b={"b": True}, fused_ops=texts("BiasAdd", "Relu")),
        ],
        TWO_AXES | {"m": M, "b": np.ones(4, "f4")},
        lambda x: (x.mean((1, 2)) @ M.T + 1).clip(0),
    ),
}


@pytest.mark.parametrize("what", SIMPLE)
def test_operations_are_those_of_numpy(what: str, tmp_path: Path) -> None:
    nodes, constants, function = SIMPLE[what]
    found, wanted = answer(tmp_path, nodes, constants), function(IMAGE.astype(float))
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_channels_first_is_the_same_convolution(tmp_path: Path) -> None:
    constants = {"w": RANDOM.normal(size=(3, 3, 3, 4)), "b": RANDOM.normal(size=4), "a": RANDOM.normal(size=4)}
    fused = texts("BiasAdd", "Prelu")
    last = answer(
        tmp_path, [node("y", "_FusedConv2D", "x", "w", "b", "a", fused_ops=fused, **windows("SAME", 2, 2))], constants
    )
    attributes = {
        "strides": integers(1, 1, 2, 2),
        "padding": text("SAME"),
        "data_format": text("NCHW"),
        "fused_ops": fused,
    }
    first = answer(
        tmp_path, [node("y", "_FusedConv2D", "x", "w", "b", "a", **attributes)], constants, IMAGE.transpose(0, 3, 1, 2)
    )
    np.testing.assert_allclose(first.transpose(0, 2, 3, 1), last, atol=1e-12)


def small_net(folder: Path, rows: int) -> Path:
    """A net with a fused convolution, a depthwise one, PReLU, both pools, resizing and a linear layer."""
    shape = [rows, -1] if rows == 1 else [-1, 12]
    nodes = [
        placeholder(rows, 7, 6, 3),
        node("c", "_FusedConv2D", "x", "w", "b", fused_ops=texts("BiasAdd", "Elu"), **windows("SAME", 2, 2)),
        node("d", "FusedDepthwiseConv2dNative", "c", "k", "a", fused_ops=texts("Prelu"), **windows("SAME", 1, 1)),
        node("m", "MaxPool", "d", ksize=integers(1, 2, 2, 1), **windows("SAME", 2, 2)),
        node("p", "AvgPool", "d", ksize=integers(1, 3, 3, 1), **windows("SAME", 2, 2)),
        node("r", "ResizeBilinear", "m", "size", half_pixel_centers={"b": True}),
        node("s", "ResizeBilinear", "p", "size"),
        node("t", "Mul", "r", "s"),
        node("f", "Reshape", "t", "flat"),
        node("y", "_FusedMatMul", "f", "l", fused_ops=texts("Sigmoid")),
    ]
    constants = {
        "w": RANDOM.normal(size=(3, 3, 3, 2)),
        "b": RANDOM.normal(size=2),
        "k": RANDOM.normal(size=(2, 3, 2, 1)),
        "a": np.array([0.1, -0.3]),
        "size": np.array([3, 2]),
        "flat": np.array(shape),
        "l": RANDOM.normal(size=(12, 4)),
    }
    return write_graph(folder, nodes, constants)


def test_gradients_are_right(tmp_path: Path) -> None:
    model = load_graph_model(small_net(tmp_path, -1)).double()
    x = torch.from_numpy(IMAGE).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: model(z)[0], x)
    weights = list(model.parameters())
    assert len(weights) == 5
    assert torch.autograd.gradcheck(lambda *_: model(x.detach())[0], weights)


def test_a_graph_for_one_image_answers_for_each_row_alone(tmp_path: Path) -> None:
    model = load_graph_model(small_net(tmp_path, 1)).double()
    x = torch.from_numpy(IMAGE).double().requires_grad_()
    (together,) = model(x)
    (gradient,) = torch.autograd.grad(together.square().sum(), x)
    alone = torch.cat([model(row)[0] for row in x.split(1)])
    assert together.shape == (2, 4)
    torch.testing.assert_close(together, alone)
    torch.testing.assert_close(gradient, torch.autograd.grad(alone.square().sum(), x)[0])


def test_a_graph_that_mixes_rows_is_refused(tmp_path: Path) -> None:
    nodes = [placeholder(-1, 7, 6, 3), node("y", "Reshape", "x", "flat")]
    model = load_graph_model(write_graph(tmp_path, nodes, {"flat": np.array([1, -1])}))
    with pytest.raises(TargetError, match=r"output 'y' has shape \(1, 252\) for 2 inputs"):
        model(torch.from_numpy(IMAGE))


def test_other_graphs_are_other_models(tmp_path: Path) -> None:
    file = small_net(tmp_path, -1)
    first = load_graph_model(file)
    told = json.loads(file.read_text())
    next(one for one in told["modelTopology"]["node"] if one["name"] == "r")["attr"] = {}
    file.write_text(json.dumps(told))
    second = load_graph_model(file)
    assert module_identity(first)[-1] == module_identity(copy.deepcopy(first))[-1] != module_identity(second)[-1]


CHAIN = [node("a", "Relu", "x"), node("y", "Relu", "a")]
REFUSED: dict[str, tuple[Nodes, str]] = {
    "unknown operation": ([node("y", "NonMaxSuppressionV5", "x")], "'NonMaxSuppressionV5' of node 'y' cannot be run"),
    "circle": ([node("y", "Add", "x", "z"), node("z", "Relu", "y")], "circle"),
    "input that is not there": ([node("y", "Relu", "z")], "reads 'z'"),
    "odd input": ([node("y", "Relu", "x:-1")], "no input"),
    "name twice": ([node("y", "Relu", "x"), node("y", "Relu", "x")], "two nodes"),
    "no name": ([{"op": "Relu"}], "has no name"),
    "constant without value": ([node("y", "Add", "x", "w"), node("w", "Const")], "has no value"),
    "no real input": ([node("z", "Placeholder", dtype={"type": "DT_INT32"}), node("y", "Relu", "z")], "DT_INT32"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_graph_that_cannot_be_run_is_refused(what: str, tmp_path: Path) -> None:
    nodes, message = REFUSED[what]
    file = write_graph(tmp_path, [placeholder(-1, 7, 6, 3), *nodes], {})
    with pytest.raises(TargetError, match=message):
        load_graph_model(file, ["y"])


FAILS: dict[str, tuple[dict[str, Any], dict[str, Array], str]] = {
    "padding": (node("y", "MaxPool", "x", **windows("HALF", 1, 1, ksize=integers(1, 2, 2, 1))), {}, "'HALF'"),
    "stride": (node("y", "MaxPool", "x", **windows("SAME", 0, 1, ksize=integers(1, 2, 2, 1))), {}, "strides"),
    "shape": (node("y", "Reshape", "x", "s"), {"s": np.array([-1, 5])}, "cannot be computed"),
    "pixels": (node("y", "ResizeBilinear", "x", "s"), {"s": np.array([2**30, 2**30])}, "resizes"),
    "pad": (node("y", "Pad", "x", "s"), {"s": np.array([[0, 0], [2**30, 0], [2**30, 0], [0, 0]])}, "pads"),
    "no base 64": (
        node("y", "MaxPool", "x", padding={"s": "%"}, strides=integers(1, 1, 1, 1), ksize=integers(1, 1, 1, 1)),
        {},
        "base 64",
    ),
    "fused": (node("y", "_FusedMatMul", "x", "w", fused_ops=texts("Erf")), {"w": np.eye(3, dtype="f4")}, "'Erf'"),
    "port": (node("y", "Relu", "x:1"), {}, "number 1 is read"),
}


@pytest.mark.parametrize("what", FAILS)
def test_a_node_that_does_not_fit_is_named(what: str, tmp_path: Path) -> None:
    broken, constants, message = FAILS[what]
    model = load_graph_model(write_graph(tmp_path, [placeholder(-1, 7, 6, 3), broken], constants), ["y"])
    with pytest.raises(TargetError, match=message):
        model(torch.from_numpy(IMAGE))


def test_what_the_outputs_do_not_need_is_left_out(tmp_path: Path) -> None:
    nodes = [placeholder(-1, 7, 6, 3), *CHAIN, node("boxes", "NonMaxSuppressionV5", "a")]
    file = write_graph(tmp_path, nodes, {"unused": V})
    model = load_graph_model(file, ["y", "a:0"])
    assert not list(model.parameters())
    assert [tuple(one.shape) for one in model(torch.from_numpy(IMAGE))] == [IMAGE.shape] * 2
    with pytest.raises(TargetError, match="has no node 'z'"):
        load_graph_model(file, ["z"])
    with pytest.raises(InputError, match=r"takes inputs of shape \(-1, 7, 6, 3\)"):
        model(torch.zeros(1, 3, 7, 6))


ODD: tuple[Any, ...] = (
    *(None, True, -1, 0, 2**40, math.nan, "", "%", "AAAA", "-5", [], [1, 2], {}, {"list": {}}, {"list": []}),
    *({"list": {"i": ["1", "0"]}}, {"s": None}, {"i": "9"}, {"type": {}}, {"f": "a"}, {"shape": {"dim": [7]}}),
)


def places(record: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of each value in a JSON file."""
    inside = record.items() if isinstance(record, dict) else enumerate(record) if isinstance(record, list) else ()
    for name, value in inside:
        yield (*path, name)
        yield from places(value, (*path, name))


def test_a_file_changed_at_any_place_runs_or_is_refused_in_our_words(tmp_path: Path) -> None:
    file, chance = small_net(tmp_path, -1), random.Random(0)
    told = file.read_text()
    where = list(places(json.loads(told)))
    refused = 0
    for _ in range(300):
        model = json.loads(told)
        *outer, last = chance.choice(where)
        held = model
        for name in outer:
            held = held[name]
        if chance.random() < 0.2:
            del held[last]
        else:
            held[last] = chance.choice(ODD)
        file.write_text(json.dumps(model))
        try:
            load_graph_model(file, chance.choice((None, ["y"], ["d:3"])))(torch.from_numpy(IMAGE))
        except (TargetError, InputError):
            refused += 1
    assert 150 < refused < 300
