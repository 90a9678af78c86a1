"""What each operation of an ONNX graph computes, in torch.

The graph is written for one input, whose batch axis has length 1 or is an axis like any other. Here many inputs go
through it at once: a value that depends on the input has an axis for the rows of a batch in front of its own axes
(`Operand.batched`), whatever the graph does to those; a constant has its own axes only. So a graph whose batch size is
fixed, that drops its batch axis or writes it into a shape, gives each row what it gives it alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class OnnxUnsupported(Exception):
    """An operation, or a form of one, that is not in the table."""


class Operand(NamedTuple):
    """A value of the graph: (rows, ...) where it depends on the input (`batched`), else (...).

    `numbers` are the components of a constant of whole numbers, or of a single number, in row-major order: shapes, axes
    and limits, which are read, and which a tensor does not have while the module is traced.
    """

    value: Tensor
    batched: bool
    numbers: tuple[float, ...] | None = None

    @classmethod
    def constant(cls, value: Tensor) -> Operand:
        """Return a constant, with its numbers."""
        read = value.numel() == 1 or (not value.is_floating_point() and value.numel() <= MOST_NUMBERS)
        return cls(value, False, tuple(value.flatten().tolist()) if read else None)

    @property
    def rank(self) -> int:
        """The number of axes that the graph knows of."""
        return self.value.ndim - self.batched

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of those axes."""
        return tuple(self.value.shape[self.batched :])

    def axis(self, axis: int) -> int:
        """Return the place of an axis of the graph among those of the tensor."""
        return axis % max(self.rank, 1) + self.batched


@dataclass(frozen=True)
class OnnxNode:
    """A node: the operation, its attributes as plain values and tensors, and the version of the operation set."""

    kind: str
    attributes: Mapping[str, Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    opset: int
    name: str = ""

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute."""
        return self.attributes.get(name, default)


MOST_NUMBERS = 2**20

Given = Sequence[Operand | None]
Operation = Callable[[OnnxNode, Given], Sequence[Operand]]


def integers(operand: Operand | None, what: str) -> list[int]:
    """Return a constant of whole numbers as a list.

    Raises:
        OnnxUnsupported: it depends on the input, or has a fraction.
    """
    if operand is None or operand.numbers is None or operand.value.is_floating_point():
        raise OnnxUnsupported(f"{what} that depends on the input, or is no list of whole numbers")
    return [int(one) for one in operand.numbers]


def _number(given: Given, place: int, what: str) -> float | None:
    """A constant input of one number, None where it is left out."""
    one = given[place] if len(given) > place else None
    if one is None:
        return None
    if one.numbers is None or len(one.numbers) != 1:
        raise OnnxUnsupported(f"{what} that depends on the input, or is not one number")
    return float(one.numbers[0])


def _parameter(node: OnnxNode, given: Given, name: str, place: int) -> list[int] | None:
    """Whole numbers that newer operation sets pass as an input and older ones as an attribute."""
    if name in node.attributes:
        value = node.attributes[name]
        return [int(one) for one in value] if isinstance(value, list | tuple) else [int(value)]
    if len(given) > place and given[place] is not None:
        return integers(given[place], f"{node.kind} with {name}")
    return None


def _operand(given: Given, place: int = 0) -> Operand:
    one = given[place] if len(given) > place else None
    if one is None:
        raise OnnxUnsupported("a node without its inputs")
    return one


def _constant(given: Given, place: int, what: str) -> Tensor | None:
    """A constant input, None where it is left out."""
    one = given[place] if len(given) > place else None
    if one is not None and one.batched:
        raise OnnxUnsupported(what)
    return None if one is None else one.value


def _aligned(operands: Sequence[Operand]) -> tuple[list[Tensor], bool]:
    """Tensors that broadcast as those of the graph do: axes of length 1 go between rows and a shorter value's own."""
    rank, batched = max(one.rank for one in operands), any(one.batched for one in operands)
    values = []
    for one in operands:
        missing = rank - one.rank
        shaped = one.value
        if one.batched and missing:
            shaped = shaped.reshape(shaped.shape[0], *[1] * missing, *shaped.shape[1:])
        values.append(shaped)
    return values, batched


# elementwise


def _each(function: Callable[[Tensor], Tensor]) -> Operation:
    def applied(node: OnnxNode, given: Given) -> Sequence[Operand]:
        x = _operand(given)
        return [Operand(function(x.value), x.batched)]

    return applied


def _activation(function: Callable[[OnnxNode, Tensor], Tensor]) -> Operation:
    def applied(node: OnnxNode, given: Given) -> Sequence[Operand]:
        x = _operand(given)
        return [Operand(function(node, x.value), x.batched)]

    return applied


def _pairwise(function: Callable[[Tensor, Tensor], Tensor]) -> Operation:
    def applied(node: OnnxNode, given: Given) -> Sequence[Operand]:
        (a, b), batched = _aligned([_operand(given, 0), _operand(given, 1)])
        return [Operand(function(a, b), batched)]

    return applied


def _quotient(a: Tensor, b: Tensor) -> Tensor:
    if a.is_floating_point():
        return a / b
    return torch.div(a, b, rounding_mode="trunc")


def _sum(node: OnnxNode, given: Given) -> Sequence[Operand]:
    values, batched = _aligned([_operand(given, place) for place in range(len(given))])
    total = values[0]
    for one in values[1:]:
        total = total + one
    return [Operand(total, batched)]


def _extreme(largest: bool) -> Operation:
    """Max and Min of a value and numbers: a clamp."""

    def applied(node: OnnxNode, given: Given) -> Sequence[Operand]:
        operands = [_operand(given, place) for place in range(len(given))]
        varying = [place for place, one in enumerate(operands) if one.batched]
        if len(varying) == 1:
            x = operands[varying[0]]
            value = x.value
            for place, one in enumerate(operands):
                if one.batched:
                    continue
                limit = _number(given, place, f"{node.kind} of the input and something")
                if one.rank > x.rank:
                    raise OnnxUnsupported(f"{node.kind} with a number of {one.rank} axes")
                value = value.clamp(min=limit) if largest else value.clamp(max=limit)
            return [Operand(value, True)]
        if varying:
            raise OnnxUnsupported(f"{node.kind} of several values that depend on the input")
        values, _ = _aligned(operands)
        found = values[0]
        for more in values[1:]:
            found = torch.maximum(found, more) if largest else torch.minimum(found, more)
        return [Operand(found, False)]

    return applied


def _clip(node: OnnxNode, given: Given) -> Sequence[Operand]:
    x = _operand(given)
    bounds: list[float | None] = []
    for place, name in ((1, "min"), (2, "max")):
        value = _number(given, place, "Clip to a bound")
        bound = node.get(name) if value is None else value
        bounds.append(None if bound is None or math.isinf(bound) or abs(bound) > 1e38 else float(bound))
    if bounds == [None, None]:
        return [x]
    return [Operand(x.value.clamp(*bounds), x.batched)]


def _power(node: OnnxNode, given: Given) -> Sequence[Operand]:
    x, exponent = _operand(given), _operand(given, 1)
    if x.batched or exponent.batched:
        number = _number(given, 1, "Pow with an exponent")
        if exponent.rank > x.rank or number is None:
            raise OnnxUnsupported("Pow with an exponent of more axes than its base")
        return [Operand(x.value.pow(int(number) if number == int(number) else number), True)]
    return [Operand(x.value.pow(exponent.value), False)]


def _selu(node: OnnxNode, given: Given) -> Sequence[Operand]:
    x = _operand(given)
    alpha, gamma = float(node.get("alpha", 1.6732632)), float(node.get("gamma", 1.0507010))
    if abs(alpha - 1.6732632) > 1e-6 or abs(gamma - 1.0507010) > 1e-6:
        raise OnnxUnsupported("Selu with other numbers than its own")
    return [Operand(F.selu(x.value), x.batched)]


def _prelu(node: OnnxNode, given: Given) -> Sequence[Operand]:
    x, slope = _operand(given), _operand(given, 1)
    (value, weight), batched = _aligned([x, slope])
    return [Operand(weight * value + (1 - weight) * value.relu(), batched)]


# matrices


def _matmul(node: OnnxNode, given: Given) -> Sequence[Operand]:
    a, b = _operand(given, 0), _operand(given, 1)
    if a.batched and not b.batched and b.rank == 2 and a.rank >= 1:
        return [Operand(F.linear(a.value, b.value.t()), True)]
    if not a.batched and not b.batched:
        return [Operand(a.value @ b.value, False)]
    if a.batched and b.batched:
        raise OnnxUnsupported("a matrix product of two values that depend on the input")
    if a.rank < 2 or b.rank < 2:
        raise OnnxUnsupported("a matrix product with a vector")
    (left, right), _ = _aligned([a, b])
    return [Operand(left @ right, True)]


def _gemm(node: OnnxNode, given: Given) -> Sequence[Operand]:
    a, b = _operand(given, 0), _operand(given, 1)
    alpha, beta = float(node.get("alpha", 1.0)), float(node.get("beta", 1.0))
    weight = _constant(given, 1, "Gemm whose second factor depends on the input")
    assert weight is not None
    x = a.value.transpose(-1, -2) if node.get("transA", 0) else a.value
    weight = weight if node.get("transB", 0) else weight.t()
    weight = weight if alpha == 1 else alpha * weight
    shift = given[2] if len(given) > 2 else None
    if shift is None:
        return [Operand(F.linear(x, weight), a.batched or b.batched)]
    bias = shift.value if beta == 1 else beta * shift.value
    if not shift.batched and bias.numel() == weight.shape[0] and bias.shape[-1:] == (weight.shape[0],):
        return [Operand(F.linear(x, weight, bias.flatten()), a.batched)]
    (product, added), batched = _aligned([Operand(F.linear(x, weight), a.batched), Operand(bias, shift.batched)])
    return [Operand(product + added, batched)]


# convolutions and pooling


def _merged(x: Operand) -> Tensor:
    """Rows and the graph's batch axis as one: (rows * N, C, ...)."""
    return x.value.flatten(0, 1) if x.batched else x.value


def _unmerged(value: Tensor, like: Operand) -> Operand:
    return Operand(value.reshape(*like.value.shape[:2], *value.shape[1:]) if like.batched else value, like.batched)


def _pads(node: OnnxNode, sizes: Sequence[int], kernel: Sequence[int]) -> tuple[list[int], list[int]]:
    """How much each axis is padded at its beginning and at its end."""
    axes = len(kernel)
    mode = node.get("auto_pad", "NOTSET")
    if mode in ("NOTSET", ""):
        pads = [int(one) for one in node.get("pads") or [0] * (2 * axes)]
        return pads[:axes], pads[axes:]
    if mode == "VALID":
        return [0] * axes, [0] * axes
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        raise OnnxUnsupported(f"{node.kind} with auto_pad {mode!r}")
    strides, dilations = _per_axis(node, "strides", axes), _per_axis(node, "dilations", axes)
    begin, end = [], []
    for size, side, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        total = max(0, (math.ceil(size / stride) - 1) * stride + dilation * (side - 1) + 1 - size)
        less, more = total // 2, total - total // 2
        begin.append(less if mode == "SAME_UPPER" else more)
        end.append(more if mode == "SAME_UPPER" else less)
    return begin, end


def _per_axis(node: OnnxNode, name: str, axes: int) -> list[int]:
    return [int(one) for one in node.get(name) or [1] * axes]


def _padded(x: Tensor, begin: Sequence[int], end: Sequence[int], value: float = 0.0) -> Tensor:
    if not any((*begin, *end)):
        return x
    sides = [side for pair in zip(reversed(begin), reversed(end), strict=True) for side in pair]
    return F.pad(x, sides, value=value)


def _convolution(node: OnnxNode, given: Given) -> Sequence[Operand]:
    x = _operand(given)
    weight = _constant(given, 1, "a convolution whose kernel depends on the input")
    bias = _constant(given, 2, "a convolution whose bias depends on the input")
    assert weight is not None
    value, axes = _merged(x), weight.ndim - 2
    if axes not in (1, 2, 3):
        raise OnnxUnsupported(f"a convolution over {axes} axes")
    begin, end = _pads(node, value.shape[2:], weight.shape[2:])
    function = (F.conv1d, F.conv2d, F.conv3d)[axes - 1]
    if begin != end:
        value, begin = _padded(value, begin, end), [0] * axes
    found = function(
        value,
        weight,
        bias,
        stride=_per_axis(node, "strides", axes),
        padding=begin,
        dilation=_per_axis(node, "dilations", axes),
        groups=int(node.get("group", 1)),
    )
    return [_unmerged(found, x)]


def _transposed_convolution(node: OnnxNode, given: Given) -> Sequence[Operand]:
    x = _operand(given)
    weight = _constant(given, 1, "a convolution whose kernel depends on the input")
    bias = _constant(given, 2, "a convolution whose bias depends on the input")
    assert weight is not None
    axes = weight.ndim - 2
    if axes not in (1, 2, 3):
        raise OnnxUnsupported(f"a transposed convolution over {axes} axes")
    if node.get("auto_pad", "NOTSET") not in ("NOTSET", "") or node.get("output_shape") is not None:
        raise OnnxUnsupported("ConvTranspose with auto_pad or output_shape")
    pads = [int(one) for one in node.get("pads") or [0] * (2 * axes)]
    if pads[:axes] != pads[axes:]:
        raise OnnxUnsupported("ConvTranspose with other padding at the end than at the beginning")
    function = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[axes - 1]
    found = function(
        _merged(x),
        weight,
        bias,
        stride=_per_axis(node, "strides", axes),
        padding=pads[:axes],
        output_padding=[int(one) for one in node.get("output_padding") or [0] * axes],
        groups=int(node.get("group", 1)),
        dilation=_per_axis(node, "dilations", axes),
    )
    return [_unmerged(found, x)]


def _batch_norm(node: OnnxNode, given: Given) -> Sequence[Operand]:
    x = _operand(given)
    if node.get("training_mode", 0):
        raise OnnxUnsupported("BatchNormalization in training mode")
    constants = [
        _constant(given, place, "BatchNormalization whose statistics depend on the input") for place in range(1, 5)
    ]
    scale, shift, mean, variance = constants
    found = F.batch_norm(
        _merged(x), mean, variance, scale, shift, training=False, eps=float(node.get("epsilon", 1e-5))
    )  # fmt: skip
    return [_unmerged(found, x)]


def _pooling(node: OnnxNode, x: Operand) -> tuple[Tensor, list[int], list[int], list[int], list[int]]:
    value = _merged(x)
    kernel = [int(one) for one in node.get("kernel_shape") or []]
    if len(kernel) not in (1, 2) or value.ndim != len(kernel) + 2:
        raise OnnxUnsupported(f"{node.kind} over {len(kernel)} axes")
    if node.get("ceil_mode", 0):
        raise OnnxUnsupported(f"{node.kind} with ceil_mode")
    return value, kernel, _per_axis(node, "strides", len(kernel)), *_pads(node, value.shape[2:], kernel)


def _max_pool(node: OnnxNode, given: Given) -> Sequence[Operand]:
    x = _operand(given)
    value, kernel, strides, begin, end = _pooling(node, x)
    if begin != end:
        raise OnnxUnsupported("MaxPool with other padding at the end than at the beginning")
    function = (F.max_pool1d, F.max_pool2d)[len(kernel) - 1]
    return [_unmerged(function(value, kernel, strides, begin, _per_axis(node, "dilations", len(kernel))), x)]


def _average_pool(node: OnnxNode, given: Given) -> Sequence[Operand]:
    x = _operand(given)
    if any(one != 1 for one in node.get("dilations") or []):
        raise OnnxUnsupported("AveragePool with dilation")
    value, kernel, strides, begin, end = _pooling(node, x)
    included = bool(node.get("count_include_pad", 0))
    if begin != end:
        if not included:
            raise OnnxUnsupported("AveragePool with other padding at the end than at the beginning")
        value, begin = _padded(value, begin, end), [0] * len(kernel)
    if len(kernel) == 1:
        return [_unmerged(F.avg_pool1d(value, kernel, strides, begin, count_include_pad=included), x)]
    return [_unmerged(F.avg_pool2d(value, kernel, strides, begin, count_include_pad=included), x)]


def _global_pool(largest: bool) -> Operation:
    def applied(node: OnnxNode, given: Given) -> Sequence[Operand]:
        x = _operand(given)
        axes = list(range(x.batched + 2, x.value.ndim))
        return [Operand(x.value.amax(axes, True) if largest else x.value.mean(axes, True), x.batched)]

    return applied


def _reduced(function: Callable[[Tensor, list[int], bool], Tensor]) -> Operation:
    def applied(node: OnnxNode, given: Given) -> Sequence[Operand]:
        x = _operand(given)
        axes = _parameter(node, given, "axes", 1)
        if not axes and node.get("noop_with_empty_axes", 0):
            return [x]
        places = [x.axis(one) for one in axes] if axes else list(range(int(x.batched), x.value.ndim))
        return [Operand(function(x.value, places, bool(node.get("keepdims", 1))), x.batched)]

    return applied


# shapes


def _flatten(node: OnnxNode, given: Given) -> Sequence[Operand]:
    x = _operand(given)
    axis = int(node.get("axis", 1))
    axis = axis + x.rank if axis < 0 else axis
    head = [math.prod(x.shape[:axis]), math.prod(x.shape[axis:])]
    return [Operand(x.value.reshape([*x.value.shape[: x.batched], *head]), x.batched)]


def _reshape(node: OnnxNode, given: Given) -> Sequence[Operand]:
    x = _operand(given)
    wanted = _parameter(node, given, "shape", 1)
    if wanted is None:
        raise OnnxUnsupported("Reshape without a shape")
    if not node.get("allowzero", 0):
        wanted = [x.shape[place] if side == 0 and place < x.rank else side for place, side in enumerate(wanted)]
    if wanted.count(-1) == 1:
        rest = math.prod(side for side in wanted if side != -1)
        wanted[wanted.index(-1)] = math.prod(x.shape) // max(rest, 1)
    if math.prod(wanted) != math.prod(x.shape) or min(wanted, default=1) < 0:
        raise OnnxUnsupported(f"Reshape of {list(x.shape)} to {wanted}")
    return [Operand(x.value.reshape([*x.value.shape[: x.batched], *wanted]), x.batched)]


def _transpose(node: OnnxNode, given: Given) -> Sequence[Operand]:
    x = _operand(given)
    order = [int(one) for one in node.get("perm") or reversed(range(x.rank))]
    return [Operand(x.value.permute([*range(x.batched), *(x.axis(one) for one in order)]), x.batched)]


def _squeeze(node: OnnxNode, given: Given) -> Sequence[Operand]:
    x = _operand(given)
    axes = _parameter(node, given, "axes", 1)
    places = [one % x.rank for one in axes] if axes else [k for k, side in enumerate(x.shape) if side == 1]
    if any(x.shape[place] != 1 for place in places):
        raise OnnxUnsupported(f"Squeeze of {list(x.shape)} at {places}")
    kept = [side for place, side in enumerate(x.shape) if place not in places]
    return [Operand(x.value.reshape([*x.value.shape[: x.batched], *kept]), x.batched)]


def _unsqueeze(node: OnnxNode, given: Given) -> Sequence[Operand]:
    x = _operand(given)
    axes = _parameter(node, given, "axes", 1) or []
    rank = x.rank + len(axes)
    places, sides = {one % rank for one in axes}, iter(x.shape)
    shape = [1 if place in places else next(sides) for place in range(rank)]
    return [Operand(x.value.reshape([*x.value.shape[: x.batched], *shape]), x.batched)]


def _concatenated(node: OnnxNode, given: Given) -> Sequence[Operand]:
    operands = [_operand(given, place) for place in range(len(given))]
    batched = next((one for one in operands if one.batched), None)
    if batched is None:
        axis = operands[0].axis(int(node.get("axis", 0)))
        return [Operand(torch.cat([one.value for one in operands], axis), False)]
    nothing = batched.value.flatten(1)[:, :1] * 0  # so that a constant has the rows of the others, traced or not
    values = [one.value if one.batched else one.value + nothing.reshape(-1, *[1] * one.rank) for one in operands]
    return [Operand(torch.cat(values, batched.axis(int(node.get("axis", 0)))), True)]


def _sliced(node: OnnxNode, given: Given) -> Sequence[Operand]:
    x = _operand(given)
    starts, ends = _parameter(node, given, "starts", 1), _parameter(node, given, "ends", 2)
    if starts is None or ends is None:
        raise OnnxUnsupported("Slice without starts and ends")
    axes = _parameter(node, given, "axes", 3) or list(range(len(starts)))
    steps = _parameter(node, given, "steps", 4) or [1] * len(starts)
    value = x.value
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        place = x.axis(axis)
        chosen = list(range(value.shape[place]))[slice(start, end if end > -(2**31) else None, step)]
        if step == 1 and chosen:
            value = value.narrow(place, chosen[0], len(chosen))
        else:
            value = value.index_select(place, torch.tensor(chosen, dtype=torch.long, device=value.device))
    return [Operand(value, x.batched)]


def _split(node: OnnxNode, given: Given) -> Sequence[Operand]:
    x = _operand(given)
    place = x.axis(int(node.get("axis", 0)))
    sizes = _parameter(node, given, "split", 1)
    if sizes is None:
        side, parts = x.value.shape[place], len(node.outputs)
        each = math.ceil(side / parts)
        sizes = [min(each, side - each * number) for number in range(parts)]
    starts = [sum(sizes[:number]) for number in range(len(sizes))]
    return [Operand(x.value.narrow(place, at, size), x.batched) for at, size in zip(starts, sizes, strict=True)]


def _gather(node: OnnxNode, given: Given) -> Sequence[Operand]:
    x = _operand(given)
    index, places = _operand(given, 1), integers(_operand(given, 1), "Gather at a place")
    place = x.axis(int(node.get("axis", 0)))
    side = x.value.shape[place]
    if not all(-side <= one < side for one in places):
        raise OnnxUnsupported("Gather outside of its operand")
    chosen = torch.tensor([one % side for one in places], dtype=torch.long, device=x.value.device)
    found = x.value.index_select(place, chosen)
    shape = [*x.value.shape[:place], *index.shape, *x.value.shape[place + 1 :]]
    return [Operand(found.reshape(shape), x.batched)]


def _pad(node: OnnxNode, given: Given) -> Sequence[Operand]:
    x = _operand(given)
    pads = _parameter(node, given, "pads", 1)
    if pads is None:
        raise OnnxUnsupported("Pad without pads")
    number = _number(given, 2, "Pad with a value")
    value = float(node.get("value", 0.0)) if number is None else number
    axes = _parameter(node, given, "axes", 3) or list(range(x.rank))
    half = len(pads) // 2
    sides = [0] * (2 * x.value.ndim)
    for axis, begin, end in zip(axes, pads[:half], pads[half:], strict=True):
        back = x.value.ndim - 1 - x.axis(axis)
        sides[2 * back], sides[2 * back + 1] = begin, end
    while len(sides) > 2 and not any(sides[-2:]):
        sides = sides[:-2]
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}.get(str(node.get("mode", "constant")))
    if mode is None:
        raise OnnxUnsupported(f"Pad with mode {node.get('mode')!r}")
    if mode == "constant":
        return [Operand(F.pad(x.value, sides, value=value), x.batched)]
    if min(sides) < 0 or len(sides) > 6 or x.rank < len(sides) // 2 + 1:
        raise OnnxUnsupported(f"Pad with mode {node.get('mode')!r} of these axes")
    lead = x.value.shape[: x.value.ndim - len(sides) // 2]
    rows = lead[0] if x.batched else 1
    found = F.pad(x.value.reshape(rows, -1, *x.value.shape[len(lead) :]), sides, mode=mode)
    return [Operand(found.reshape(*lead, *found.shape[2:]), x.batched)]


def _expand(node: OnnxNode, given: Given) -> Sequence[Operand]:
    x = _operand(given)
    wanted = integers(_operand(given, 1), "Expand to a shape")
    rank = max(len(wanted), x.rank)
    mine, theirs = [1] * (rank - x.rank) + list(x.shape), [1] * (rank - len(wanted)) + wanted
    target = [b if a == 1 else a for a, b in zip(mine, theirs, strict=True)]
    rows = list(x.value.shape[: x.batched])
    return [Operand(x.value.reshape(rows + mine).expand(rows + target), x.batched)]


# constants


def _literal(node: OnnxNode, given: Given) -> Sequence[Operand]:
    for name, kind in (("value_float", torch.float32), ("value_floats", torch.float32)):
        if name in node.attributes:
            return [Operand(torch.tensor(node.attributes[name], dtype=kind), False)]
    for name in ("value_int", "value_ints"):
        if name in node.attributes:
            return [Operand(torch.tensor(node.attributes[name], dtype=torch.int64), False)]
    value = node.get("value")
    if not isinstance(value, Tensor):
        raise OnnxUnsupported("Constant of another kind than a tensor or numbers")
    return [Operand(value, False)]


def _filled(node: OnnxNode, given: Given) -> Sequence[Operand]:
    value = node.get("value")
    number = value if isinstance(value, Tensor) else torch.zeros(1)
    shape = integers(_operand(given), "ConstantOfShape")
    if math.prod(shape) > 2**26:
        raise OnnxUnsupported(f"ConstantOfShape of {shape}")
    return [Operand(torch.full(shape, number.flatten()[0].item(), dtype=number.dtype), False)]


def _shape(node: OnnxNode, given: Given) -> Sequence[Operand]:
    sides = _operand(given).shape[slice(node.get("start"), node.get("end"))]
    return [Operand(torch.tensor(sides, dtype=torch.int64), False)]


_DTYPES = {1: torch.float32, 11: torch.float64, 6: torch.int32, 7: torch.int64, 9: torch.bool}


def _cast(node: OnnxNode, given: Given) -> Sequence[Operand]:
    x, kind = _operand(given), _DTYPES.get(int(node.get("to", 0)))
    if kind is None or (x.batched and not (kind.is_floating_point and x.value.is_floating_point())):
        raise OnnxUnsupported(f"Cast to type {node.get('to')}")
    return [Operand(x.value if x.batched else x.value.to(kind), x.batched)]


def _same(node: OnnxNode, given: Given) -> Sequence[Operand]:
    return [_operand(given)]


def _dropout(node: OnnxNode, given: Given) -> Sequence[Operand]:
    if _number(given, 2, "Dropout with a mode"):
        raise OnnxUnsupported("Dropout in training mode")
    return [_operand(given)]


OPERATIONS: Mapping[str, Operation] = {
    "Abs": _each(torch.abs),
    "Add": _pairwise(torch.add),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Celu": _activation(lambda node, x: F.celu(x, float(node.get("alpha", 1.0)))),
    "Clip": _clip,
    "Concat": _concatenated,
    "Constant": _literal,
    "ConstantOfShape": _filled,
    "Conv": _convolution,
    "ConvTranspose": _transposed_convolution,
    "Div": _pairwise(_quotient),
    "Dropout": _dropout,
    "Elu": _activation(lambda node, x: F.elu(x, float(node.get("alpha", 1.0)))),
    "Exp": _each(torch.exp),
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Gelu": _activation(lambda node, x: F.gelu(x, approximate=node.get("approximate", "none"))),
    "Gemm": _gemm,
    "GlobalAveragePool": _global_pool(False),
    "GlobalMaxPool": _global_pool(True),
    "HardSigmoid": _activation(
        lambda node, x: (float(node.get("alpha", 0.2)) * x + float(node.get("beta", 0.5))).clamp(0.0, 1.0)
    ),
    "HardSwish": _each(F.hardswish),
    "Identity": _same,
    "LeakyRelu": _activation(lambda node, x: F.leaky_relu(x, float(node.get("alpha", 0.01)))),
    "MatMul": _matmul,
    "Max": _extreme(True),
    "MaxPool": _max_pool,
    "Min": _extreme(False),
    "Mul": _pairwise(torch.mul),
    "Neg": _each(torch.neg),
    "Pad": _pad,
    "Pow": _power,
    "PRelu": _prelu,
    "ReduceMax": _reduced(lambda x, axes, keep: x.amax(axes, keep)),
    "ReduceMean": _reduced(lambda x, axes, keep: x.mean(axes, keep)),
    "ReduceSum": _reduced(lambda x, axes, keep: x.sum(axes, keep)),
    "Relu": _each(torch.relu),
    "Reshape": _reshape,
    "Selu": _selu,
    "Shape": _shape,
    "Sigmoid": _each(torch.sigmoid),
    "Slice": _sliced,
    "Softplus": _each(F.softplus),
    "Split": _split,
    "Sqrt": _each(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _pairwise(torch.sub),
    "Sum": _sum,
    "Tanh": _each(torch.tanh),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
