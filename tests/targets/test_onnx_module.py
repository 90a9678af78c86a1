"""`OnnxModule` computes what onnxruntime does, for every row of a batch; what it does not read is refused by name."""

import numpy as np
import pytest
import torch

from sparring.errors import TargetError
from sparring.targets.onnx_module import OnnxModule
from sparring.targets.onnx_operations import OPERATIONS

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")
helper, FLOAT = onnx.helper, onnx.TensorProto.FLOAT
RNG = np.random.default_rng(0)


def array(*shape):
    return (RNG.standard_normal(shape) * 0.7).astype(np.float32)


def whole(*numbers):
    return np.array(numbers, np.int64)


def model(nodes, constants, shape, opset=17, outputs=("y",), kind=FLOAT):
    """A graph from x of this shape to y; nodes are (operation, inputs, outputs, attributes)."""
    made = [helper.make_node(op, ins.split(), outs.split(), **more) for op, ins, outs, more in nodes]
    graph = helper.make_graph(
        made,
        "g",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info(name, kind, None) for name in outputs],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return made.SerializeToString()


def gap(content, rows=3):
    """The largest difference from onnxruntime, asked row by row."""
    module = OnnxModule(content, "net.onnx")
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    x = array(rows, *module.in_shape)
    theirs = np.stack([session.run(None, {"x": one})[0].ravel() for one in x])
    ours = module(torch.from_numpy(x).double()).numpy()
    assert ours.shape == theirs.shape == (rows, module.out_size)
    return float(np.abs(ours - theirs).max())


IMAGE, VECTOR = [1, 2, 6, 5], [1, 6]
CASES = {
    "affine": ([("Gemm", "x w b", "h", {"transB": 1, "alpha": 0.5, "beta": 2.0}), ("Relu", "h", "y", {})],
               {"w": array(4, 6), "b": array(4)}, VECTOR),
    "matmul-add": ([("MatMul", "x w", "h", {}), ("Add", "b h", "k", {}), ("Sigmoid", "k", "y", {})],
                   {"w": array(6, 4), "b": array(4)}, VECTOR),
    "matrix-on-the-left": ([("Transpose", "x", "t", {"perm": [1, 0]}), ("MatMul", "w t", "y", {})],
                           {"w": array(3, 6)}, VECTOR),
    "broadcast": ([("Sub", "x a", "h", {}), ("Div", "h b", "k", {}), ("Mul", "k c", "y", {})],
                  {"a": array(3, 1, 6), "b": 2 + np.abs(array(1)), "c": array(6)}, VECTOR),
    "activations": ([("LeakyRelu", "x", "a", {"alpha": 0.2}), ("Tanh", "a", "b", {}), ("Elu", "b", "c", {}),
                     ("Selu", "c", "d", {}), ("Celu", "d", "e", {"alpha": 2.0}), ("Softplus", "e", "f", {}),
                     ("HardSigmoid", "f", "g", {}), ("HardSwish", "g", "h", {}), ("Exp", "h", "i", {}),
                     ("Abs", "i", "j", {}), ("Pow", "j two", "k", {}), ("Sqrt", "two", "s", {}),
                     ("Neg", "k", "l", {}), ("PRelu", "l p", "m", {}), ("Sum", "m s x", "y", {})],
                    {"two": np.float32(2), "p": array(6)}, VECTOR),
    "clips": ([("Clip", "x low high", "h", {}), ("Max", "h zero", "k", {}), ("Min", "k low2", "y", {})],
              {"low": np.float32(-0.3), "high": np.float32(0.9), "zero": np.float32(0), "low2": np.float32([0.4])},
              VECTOR),
    "convolutions": ([("Conv", "x w b", "h", {"pads": [1, 0, 2, 1], "strides": [2, 1], "dilations": [1, 2]}),
                      ("BatchNormalization", "h s t m v", "k", {}),
                      ("ConvTranspose", "k u", "y",
                       {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 0]})],
                     {"w": array(4, 2, 3, 2), "b": array(4), "s": array(4), "t": array(4), "m": array(4),
                      "v": np.abs(array(4)), "u": array(4, 3, 3, 3)}, IMAGE),
    "grouped-same": ([("Conv", "x w", "y", {"auto_pad": "SAME_UPPER", "strides": [2, 2], "group": 2})],
                     {"w": array(4, 1, 2, 3)}, IMAGE),
    "convolution-1d": ([("Conv", "x w", "y", {"pads": [2, 2]})], {"w": array(3, 2, 3)}, [1, 2, 7]),
    "pooling": ([("MaxPool", "x", "h", {"kernel_shape": [2, 2], "pads": [1, 1, 1, 1]}),
                 ("AveragePool", "h", "k", {"kernel_shape": [2, 2], "strides": [2, 1], "pads": [1, 0, 1, 0]}),
                 ("GlobalAveragePool", "k", "l", {}), ("GlobalMaxPool", "x", "m", {}), ("Add", "l m", "y", {})],
                {}, IMAGE),
    "shapes": ([("Shape", "x", "s", {}), ("Gather", "s zero", "n", {}), ("Unsqueeze", "n zero1", "n1", {}),
                ("Concat", "n1 minus", "t", {"axis": 0}), ("Reshape", "x t", "h", {}), ("Squeeze", "h zero1", "k", {}),
                ("Unsqueeze", "k one1", "l", {}), ("Transpose", "l", "m", {}), ("Flatten", "m", "y", {"axis": 0})],
               {"zero": np.int64(0), "zero1": whole(0), "one1": whole(1), "minus": whole(-1)}, IMAGE),
    "no-batch-axis": ([("Reshape", "x t", "h", {}), ("Relu", "h", "k", {}), ("MatMul", "k w", "y", {})],
                      {"t": whole(6), "w": array(6, 2)}, VECTOR),
    "parts": ([("Slice", "x a b c d", "h", {}), ("Gather", "x i", "k", {"axis": -1}),
               ("Split", "x sizes", "p q", {"axis": 2}), ("Concat", "h k q one", "y", {"axis": 2})],
              {"a": whole(-1, 0), "b": whole(-(2**62), 5), "c": whole(2, 3), "d": whole(-2, 1),
               "i": whole(4, -1, 0, 1, 2), "sizes": whole(4, 2), "one": array(1, 2, 1, 5)}, IMAGE),
    "padding": ([("Pad", "x p v", "h", {}), ("Pad", "h r", "y", {"mode": "reflect"})],
                {"p": whole(0, 0, 1, 2, 0, 1, 0, 1), "v": np.float32(0.5), "r": whole(0, 0, 2, 1, 0, 0, 1, 2)}, IMAGE),
    "sums": ([("ReduceMean", "x", "h", {"axes": [2, -1], "keepdims": 0}), ("ReduceSum", "x three", "k", {}),
              ("ReduceMax", "k", "l", {"axes": [2]}), ("Flatten", "l", "m", {}), ("Add", "h m", "y", {})],
             {"three": whole(3)}, IMAGE),
    "constants": ([("Constant", "", "c", {"value_floats": [0.5, -1.0, 2.0, 1.0, 0.0, 3.0]}), ("Mul", "x c", "h", {}),
                   ("ConstantOfShape", "shape", "o", {}), ("Expand", "o wide", "e", {}), ("Add", "h e", "k", {}),
                   ("Dropout", "k", "l", {}), ("Identity", "l", "m", {}), ("Cast", "m", "n", {"to": FLOAT}),
                   ("Expand", "n wide", "y", {})],
                  {"shape": whole(1, 1), "wide": whole(2, 6)}, VECTOR),
    "open-batch": ([("Flatten", "x", "h", {}), ("Gemm", "h w", "y", {})], {"w": array(60, 3)}, ["N", 2, 6, 5]),
    "scalars-per-channel": ([("Mul", "x c", "h", {}), ("Add", "h c", "y", {})], {"c": array(2, 1, 1)}, IMAGE),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_rows_are_what_onnxruntime_gives_each_alone(case):
    assert gap(model(*CASES[case])) < 1e-5


def test_every_operation_of_the_table_is_compared():
    used = {node[0] for nodes, *_ in CASES.values() for node in nodes}
    assert set(OPERATIONS) - used == {"Gelu"}
    assert gap(model([("Gelu", "x", "h", {}), ("Gelu", "h", "y", {"approximate": "tanh"})], {}, VECTOR, 20)) < 1e-5


@pytest.mark.parametrize(("nodes", "constants", "more", "said"), [
    ([("Softmax", "x", "y", {})], {}, {}, "Softmax"),
    ([("Mul", "x x", "h", {}), ("MatMul", "h t", "y", {}), ("Transpose", "x", "t", {})], {}, {}, "no node before"),
    ([("Transpose", "x", "t", {}), ("MatMul", "x t", "y", {})], {}, {}, "product of two values"),
    ([("MatMul", "x w", "y", {})], {"w": array(5, 2)}, {}, "does not fit"),
    ([("Reshape", "x t", "y", {})], {"t": whole(2, 2)}, {}, r"Reshape of \[1, 6\] to \[2, 2\]"),
    ([("Relu", "c", "y", {})], {"c": array(2)}, {}, "do not depend on its inputs"),
    ([("Relu", "x", "y", {}), ("Neg", "x", "z", {})], {}, {"outputs": ("y", "z")}, "outputs y, z"),
    ([("Cast", "x", "y", {"to": onnx.TensorProto.INT64})], {}, {}, "Cast to type 7"),
    ([("MatMul", "x w", "y", {})], {"w": np.full((6, 2), np.nan, np.float32)}, {}, "NaN"),
])  # fmt: skip
def test_what_is_not_read_is_named(nodes, constants, more, said):
    with pytest.raises(TargetError, match=said):
        OnnxModule(model(nodes, constants, VECTOR, **more), "net.onnx")


def test_hostile_files_are_refused():
    with pytest.raises(TargetError, match="no valid ONNX"):
        OnnxModule(b"\x00 nothing" * 50, "net.onnx")
    proto = onnx.ModelProto.FromString(model([("Add", "x c", "y", {})], {"c": array(6)}, VECTOR))
    constant = proto.graph.initializer[0]
    constant.ClearField("raw_data")
    constant.data_location = onnx.TensorProto.EXTERNAL
    entry = constant.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    with pytest.raises(TargetError, match="another file"):
        OnnxModule(proto.SerializeToString(), "net.onnx")
    proto = onnx.ModelProto.FromString(model([("Relu", "x", "y", {})], {}, VECTOR))
    proto.graph.node[0].domain = "com.microsoft"
    proto.opset_import.add(domain="com.microsoft", version=1)
    with pytest.raises(TargetError, match=r"com\.microsoft\.Relu"):
        OnnxModule(proto.SerializeToString(), "net.onnx")
