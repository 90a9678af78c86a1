"""The operations of TensorFlow graphs that can be run, by name: (node, its inputs) -> its output or outputs.

Constants of integers (shapes, axes) stay on the CPU, so that reading them waits for no device; `_together` brings them
to the others where they are computed with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import torch
from torch import Tensor
from torch.nn import functional as F

from ...errors import TargetError, out_of_memory
from .convolution import average_pool, channels_first, conv2d, depthwise_conv2d, max_pool, transposed_conv2d
from .graph import Node
from .resizing import resize_bilinear, resize_nearest

Result = Tensor | tuple[Tensor, ...]
Operation = Callable[[Node, Sequence[Tensor]], Result]
ELEMENTS_LIMIT = 2**31
LEAKY_ALPHA = 0.2  # TensorFlow's default

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "Relu": F.relu,
    "Relu6": F.relu6,
    "Elu": F.elu,
    "Sigmoid": torch.sigmoid,
    "Tanh": torch.tanh,
}
UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    **ACTIVATIONS,
    "Abs": torch.abs,
    "Exp": torch.exp,
    "Identity": lambda x: x,
    "Neg": torch.neg,
    "Rsqrt": torch.rsqrt,
    "Sqrt": torch.sqrt,
    "Square": torch.square,
    "StopGradient": torch.Tensor.detach,
}
BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Add": torch.add,
    "AddV2": torch.add,
    "BiasAdd": torch.add,
    "Equal": torch.eq,
    "FloorDiv": torch.floor_divide,
    "FloorMod": torch.remainder,
    "Maximum": torch.maximum,
    "Minimum": torch.minimum,
    "Mul": torch.mul,
    "RealDiv": torch.div,
    "SquaredDifference": lambda x, y: (x - y).square(),
    "Sub": torch.sub,
}
REDUCTIONS: dict[str, Callable[..., Tensor]] = {"Max": torch.amax, "Mean": torch.mean, "Sum": torch.sum}


def _together(*inputs: Tensor) -> list[Tensor]:
    """Return the tensors on the device of the first that is not on the CPU."""
    device = next((one.device for one in inputs if not one.is_cpu), None)
    return list(inputs) if device is None else [one.to(device) for one in inputs]


def _unary(node: Node, inputs: Sequence[Tensor]) -> Tensor:
    return UNARY[node.op](inputs[0])


def _binary(node: Node, inputs: Sequence[Tensor]) -> Tensor:
    x, y = _together(inputs[0], inputs[1])
    if node.op == "BiasAdd" and channels_first(node):
        y = y.reshape(-1, *[1] * (x.ndim - 2))
    return BINARY[node.op](x, y)


def _add_n(node: Node, inputs: Sequence[Tensor]) -> Tensor:
    total = inputs[0]
    for one in inputs[1:]:
        total = total + one
    return total


def _prelu(node: Node, inputs: Sequence[Tensor]) -> Tensor:
    return torch.where(inputs[0] > 0, inputs[0], inputs[0] * inputs[1])


def _leaky_relu(node: Node, inputs: Sequence[Tensor]) -> Tensor:
    return F.leaky_relu(inputs[0], node.number("alpha", LEAKY_ALPHA))


def _fused(node: Node, y: Tensor, inputs: Sequence[Tensor], channels: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply the attribute `fused_ops` to y; `channels` shapes a vector for the axis of the channels."""
    left = list(inputs)
    for name in node.texts("fused_ops"):
        if name in ("BiasAdd", "Prelu") and not left:
            raise TargetError(f"{node} lacks the input of its {name}")
        if name == "BiasAdd":
            y = y + channels(left.pop(0))
        elif name == "Prelu":
            slope = left.pop(0)
            y = torch.where(y > 0, y, y * (channels(slope) if slope.ndim == 1 else slope))
        elif name == "LeakyRelu":
            y = F.leaky_relu(y, node.number("leakyrelu_alpha", LEAKY_ALPHA))
        elif name in ACTIVATIONS:
            y = ACTIVATIONS[name](y)
        else:
            raise TargetError(f"{node} is fused with {name!r:.40}, which cannot be run")
    return y


def _convolution(node: Node, inputs: Sequence[Tensor]) -> Tensor:
    convolve = depthwise_conv2d if "Depthwise" in node.op else conv2d
    y = convolve(node, inputs[0], inputs[1])
    return _fused(node, y, inputs[2:], lambda v: v.reshape(-1, 1, 1) if channels_first(node) else v)


def _matmul(node: Node, inputs: Sequence[Tensor]) -> Tensor:
    x = inputs[0].mT if node.flag("transpose_a") else inputs[0]
    y = inputs[1].mT if node.flag("transpose_b") else inputs[1]
    return _fused(node, x @ y, inputs[2:], lambda v: v)


def _softmax(node: Node, inputs: Sequence[Tensor]) -> Tensor:
    return inputs[0].softmax(-1)


def _reduction(node: Node, inputs: Sequence[Tensor]) -> Tensor:
    axes = inputs[1].reshape(-1).tolist()
    return REDUCTIONS[node.op](inputs[0], axes, keepdim=node.flag("keep_dims")) if axes else inputs[0]


def _reshape(node: Node, inputs: Sequence[Tensor]) -> Tensor:
    return inputs[0].reshape(inputs[1].tolist())


def _squeeze(node: Node, inputs: Sequence[Tensor]) -> Tensor:
    axes = node.integers("squeeze_dims") or node.integers("axis")
    return inputs[0].squeeze(tuple(axes)) if axes else inputs[0].squeeze()


def _expand_dims(node: Node, inputs: Sequence[Tensor]) -> Tensor:
    return inputs[0].unsqueeze(int(inputs[1]))


def _transpose(node: Node, inputs: Sequence[Tensor]) -> Tensor:
    return inputs[0].permute(inputs[1].tolist())


def _pad(node: Node, inputs: Sequence[Tensor]) -> Tensor:
    pads: list[list[int]] = inputs[1].tolist()
    sizes = [before + side + after for side, (before, after) in zip(inputs[0].shape, pads, strict=True)]
    if any(min(pair) < 0 for pair in pads) or prod(sizes) > ELEMENTS_LIMIT:
        raise TargetError(f"{node} pads to {sizes}, which is no size or too large")
    value = float(inputs[2]) if node.op == "PadV2" else 0.0
    return F.pad(inputs[0], [pad for pair in reversed(pads) for pad in pair], value=value)


def _concat(node: Node, inputs: Sequence[Tensor]) -> Tensor:
    return torch.cat(_together(*inputs[:-1]), int(inputs[-1]))


def _pack(node: Node, inputs: Sequence[Tensor]) -> Tensor:
    return torch.stack(_together(*inputs), node.integer("axis"))


def _split(node: Node, inputs: Sequence[Tensor]) -> Result:
    parts, axis = node.integer("num_split", 1), int(inputs[0])
    side = inputs[1].shape[axis]
    if parts < 1 or side % parts:
        raise TargetError(f"{node} splits {side} into {parts} equal parts")
    pieces: tuple[Tensor, ...] = torch.split(inputs[1], side // parts, axis)
    return pieces


def _split_sizes(node: Node, inputs: Sequence[Tensor]) -> Result:
    sizes, axis = inputs[1].reshape(-1).tolist(), int(inputs[2])
    side = inputs[0].shape[axis]
    if sizes.count(-1) == 1:
        sizes[sizes.index(-1)] = side - sum(sizes) - 1
    if min(sizes, default=-1) < 0 or sum(sizes) != side:
        raise TargetError(f"{node} splits {side} into parts of {sizes}")
    pieces: tuple[Tensor, ...] = torch.split(inputs[0], sizes, axis)
    return pieces


def _gather(node: Node, inputs: Sequence[Tensor]) -> Tensor:
    if node.integer("batch_dims"):
        raise TargetError(f"{node} has batch_dims, which cannot be run")
    x, places = _together(inputs[0], inputs[1])
    axis = int(inputs[2]) % x.ndim
    found = x.index_select(axis, places.reshape(-1).long())
    return found.reshape(*x.shape[:axis], *places.shape, *x.shape[axis + 1 :])


def _top_k(node: Node, inputs: Sequence[Tensor]) -> Result:
    values, places = inputs[0].topk(int(inputs[1]), dim=-1)
    return values, places


def _cast(node: Node, inputs: Sequence[Tensor]) -> Tensor:
    x, kind = inputs[0], node.dtype("DstT")
    if kind == "DT_FLOAT":
        return x if x.is_floating_point() else x.float()  # beside float64 it becomes that
    if kind in ("DT_INT32", "DT_INT64"):
        return x.long()
    if kind == "DT_BOOL":
        return x != 0
    raise TargetError(f"{node} makes {kind:.40}; DT_FLOAT, DT_INT32, DT_INT64 and DT_BOOL can be run")


def _shape(node: Node, inputs: Sequence[Tensor]) -> Tensor:
    return torch.tensor(inputs[0].shape)


def _strided_slice(node: Node, inputs: Sequence[Tensor]) -> Tensor:
    x = inputs[0]
    begins, ends, strides = (one.reshape(-1).tolist() for one in inputs[1:4])
    begin_mask, end_mask, new_mask, drop_mask = (
        node.integer(f"{word}_mask") for word in ("begin", "end", "new_axis", "shrink_axis")
    )
    if node.integer("ellipsis_mask") or new_mask:
        raise TargetError(f"{node} has an ellipsis or a new axis, which cannot be run")
    dropped: list[int] = []
    for axis, (begin, end, stride) in enumerate(zip(begins, ends, strides, strict=True)):
        side = x.shape[axis]
        if drop_mask >> axis & 1:
            places, dropped = range(begin % side, begin % side + 1), [*dropped, axis]
            if not -side <= begin < side:
                raise TargetError(f"{node} takes place {begin} of an axis of {side}")
        else:
            cut = slice(None if begin_mask >> axis & 1 else begin, None if end_mask >> axis & 1 else end, stride)
            places = range(side)[cut]
        if places.step > 0:
            x = x.narrow(axis, places.start, max(places.stop - places.start, 0) if places else 0)
            x = x if places.step == 1 else x[(slice(None),) * axis + (slice(None, None, places.step),)]
        else:
            x = x.index_select(axis, torch.tensor(list(places), dtype=torch.long, device=x.device))
    return x.squeeze(tuple(dropped)) if dropped else x


OPERATIONS: dict[str, Operation] = {
    **dict.fromkeys(UNARY, _unary),
    **dict.fromkeys(BINARY, _binary),
    **dict.fromkeys(REDUCTIONS, _reduction),
    **dict.fromkeys(("Conv2D", "_FusedConv2D", "DepthwiseConv2dNative", "FusedDepthwiseConv2dNative"), _convolution),
    **dict.fromkeys(("MatMul", "_FusedMatMul"), _matmul),
    **dict.fromkeys(("Pad", "PadV2"), _pad),
    "AddN": _add_n,
    "AvgPool": lambda node, inputs: average_pool(node, inputs[0]),
    "Cast": _cast,
    "ConcatV2": _concat,
    "Conv2DBackpropInput": lambda node, inputs: transposed_conv2d(node, *inputs),
    "ExpandDims": _expand_dims,
    "GatherV2": _gather,
    "LeakyRelu": _leaky_relu,
    "MaxPool": lambda node, inputs: max_pool(node, inputs[0]),
    "Pack": _pack,
    "Prelu": _prelu,
    "Reshape": _reshape,
    "ResizeBilinear": lambda node, inputs: resize_bilinear(node, inputs[0], inputs[1]),
    "ResizeNearestNeighbor": lambda node, inputs: resize_nearest(node, inputs[0], inputs[1]),
    "Shape": _shape,
    "Softmax": _softmax,
    "Split": _split,
    "SplitV": _split_sizes,
    "Squeeze": _squeeze,
    "StridedSlice": _strided_slice,
    "TopKV2": _top_k,
    "Transpose": _transpose,
}
FILTERS = ("Conv2D", "_FusedConv2D")
DEPTHWISE_FILTERS = ("DepthwiseConv2dNative", "FusedDepthwiseConv2dNative")


def compute(node: Node, inputs: Sequence[Tensor]) -> Result:
    """Return what the node makes of its inputs; TargetError, naming it, where they do not fit.

    Raises: TargetError; torch's error for memory that ran out.
    """
    try:
        return OPERATIONS[node.op](node, inputs)
    except (RuntimeError, IndexError, ValueError, TypeError, ZeroDivisionError) as error:
        if out_of_memory(error):
            raise
        shapes = ", ".join(str(tuple(one.shape)) for one in inputs)
        raise TargetError(f"{node} cannot be computed from {shapes}: {error}") from error
