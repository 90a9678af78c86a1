"""Small networks as ONNX files."""

import numpy as np
import pytest
from torch import nn

onnx = pytest.importorskip("onnx")


def dense_file(net, in_shape=None, out_shape=None):
    """The content of an ONNX file with the layers of a Sequential of Linear, ReLU and Flatten, in float32."""
    nodes, constants, last = [], [], "x"
    linears = [layer for layer in net if isinstance(layer, nn.Linear)]
    in_shape = [1, linears[0].in_features] if in_shape is None else in_shape
    for number, layer in enumerate(net):
        name = f"h{number}"
        if isinstance(layer, nn.Linear):
            given = [f"w{number}", f"b{number}"]
            arrays = (layer.weight, layer.bias)
            constants += [
                onnx.numpy_helper.from_array(value.detach().numpy().astype(np.float32), one)
                for one, value in zip(given, arrays, strict=True)
            ]
            nodes.append(onnx.helper.make_node("Gemm", [last, *given], [name], transB=1))
        else:
            kind = {nn.ReLU: "Relu", nn.Flatten: "Flatten", nn.Tanh: "Tanh"}[type(layer)]
            nodes.append(onnx.helper.make_node(kind, [last], [name]))
        last = name
    if out_shape is not None:
        constants.append(onnx.numpy_helper.from_array(np.array(out_shape, np.int64), "shape"))
        nodes.append(onnx.helper.make_node("Reshape", [last, "shape"], ["y"]))
        last = "y"
    kind = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        nodes,
        "net",
        [onnx.helper.make_tensor_value_info("x", kind, in_shape)],
        [onnx.helper.make_tensor_value_info(last, kind, out_shape or [1, linears[-1].out_features])],
        constants,
    )
    return onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()


def linear(weights, bias=0.0):
    """A layer with these weights (m, n)."""
    weights = np.atleast_2d(np.asarray(weights, np.float64))
    layer = nn.Linear(weights.shape[1], weights.shape[0]).double()
    layer.weight.data[:] = layer.weight.new_tensor(weights)
    layer.bias.data[:] = bias if np.isscalar(bias) else layer.bias.new_tensor(bias)
    return layer


def boxed(low, high, *assertions, outputs=1):
    """A text in VNN-LIB 1.0 with these bounds, as texts or numbers."""
    lines = [f"(declare-const X_{k} Real)" for k in range(len(low))]
    lines += [f"(declare-const Y_{k} Real)" for k in range(outputs)]
    for k, (least, most) in enumerate(zip(low, high, strict=True)):
        lines += [f"(assert (>= X_{k} {least}))", f"(assert (<= X_{k} {most}))"]
    return "\n".join([*lines, *(f"(assert {one})" for one in assertions)])
