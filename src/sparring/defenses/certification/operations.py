"""What each traced operation of torch is: affine, an activation or a maximum.

One table per kind. `translate` returns one or more steps for a traced node; an operation that is in no table, or in a
form without bounds, is `Unsupported`, whose text names it, its layer and its shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn import functional as F

from ...errors import TargetError
from . import activations
from .activations import Activation
from .affine import (
    Affine,
    Bilinear,
    Call,
    ConstantSlot,
    Convolution,
    InputSlot,
    Linear,
    Sum,
    batch_norm,
    folded_batch_norm,
    pad_with,
)
from .maximum import Maximum, pooling_groups

Make = Callable[[Mapping[fx.Node, Any]], Tensor]  # computes a constant from those before it
Step = tuple[Affine | Activation | Maximum, tuple[int, ...], tuple[Make, ...]]  # with its operands and constants
Place = Mapping[fx.Node, int]


class Unsupported(Exception):
    """An operation without bounds."""

    @classmethod
    def at(cls, node: fx.Node, what: str) -> Unsupported:
        """Return the error for a node."""
        return cls(f"{what} ({cls.place(node)})")

    @staticmethod
    def place(node: fx.Node) -> str:
        """Return the operation, its module and its shape, for messages."""
        stack = node.meta.get("nn_module_stack") or {}
        paths = [str(entry[0]) for entry in stack.values() if entry[0]]
        where = f" in {paths[-1].removeprefix('model.')}" if paths and paths[-1] != "model" else ""
        value = node.meta.get("val")
        value = value[0] if isinstance(value, tuple | list) and value else value
        shape = f", shape {tuple(value.shape[1:])}" if isinstance(value, torch.Tensor) else ""
        return f"{_name(node)}{where}{shape}"


# torch.export takes operations apart; these are kept whole, since what they are made of has worse bounds or none
WHOLE = (
    "linear", "matmul", "einsum", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
    "conv_transpose3d", "pad", "silu", "hardswish", "hardsigmoid", "softplus", "prelu", "selu", "celu", "relu6",
    "leaky_relu", "elu", "gelu", "hardtanh", "batch_norm", "adaptive_avg_pool1d", "adaptive_avg_pool2d",
    "adaptive_max_pool2d", "max_pool2d", "max_pool1d", "upsample_nearest2d", "upsample_bilinear2d", "square", "mish",
    "log_sigmoid", "layer_norm", "group_norm", "instance_norm", "softmax", "log_softmax", "softsign",
    "scaled_dot_product_attention", "tanhshrink", "hardshrink", "softshrink", "threshold", "rms_norm",
)  # fmt: skip


def preserved() -> dict[Any, Any]:
    """Return torch's table of decompositions without the operations that are kept whole."""
    if not hasattr(torch.export, "default_decompositions"):
        raise TargetError(f"certificates need torch 2.6 or newer, and this is {torch.__version__}; update torch")
    table: Any = torch.export.default_decompositions()
    for operation in list(table):
        if str(operation.name()).startswith("aten::") and _base(operation).rstrip("_") in WHOLE:
            table.pop(operation)
    return table  # type: ignore[no-any-return]


def translate(node: fx.Node, place: Place) -> list[Step]:
    """Return the steps of a traced node, some of whose operands depend on the network's input.

    An operand is the number of a node; -1 is the step before, -2 that before it.

    Raises:
        Unsupported: it has no bounds.
    """
    name = _name(node)
    if name == "getitem":
        return [_part(node, place)]
    if name == "prelu":
        return _prelu(node, place)
    for table in (_AFFINE, _POOLED):
        if name in table:
            return [table[name](node, place)]
    if name in _ACTIVATIONS:
        _only_first(node, place)
        return [(_ACTIVATIONS[name](node), (place[_argument(node, 0)],), ())]
    raise Unsupported.at(node, f"the operation {name}")


# arguments


def _name(node: fx.Node) -> str:
    target = node.target
    return _base(target) if isinstance(target, torch._ops.OpOverload) else str(getattr(target, "__name__", target))


def _base(operation: Any) -> str:
    return str(operation.name()).split("::")[-1].split(".")[0]


def _argument(node: fx.Node, number: int, name: str = "", default: Any = None) -> Any:
    if number < len(node.args):
        return node.args[number]
    return node.kwargs.get(name, default)


def _depends(node: Any, place: Place) -> bool:
    return isinstance(node, fx.Node) and node in place


def _only_first(node: fx.Node, place: Place) -> None:
    """Refuse a node whose other arguments depend on the input too."""
    first = _argument(node, 0)
    if not _depends(first, place) or any(one in place and one is not first for one in node.all_input_nodes):
        raise Unsupported.at(node, f"{_name(node)} of something that depends on the image in its other arguments")


def _value(node: fx.Node) -> Make:
    """The constant that a node computes, without the rows of the traced batch."""
    return lambda values: values[node]


def _per_image(node: fx.Node, operand: fx.Node) -> Make:
    """A constant of an elementwise operation; one that was made with a row for each image has equal rows."""
    mine, theirs = node.meta["val"], operand.meta["val"]
    if mine.ndim == theirs.ndim and mine.ndim and mine.shape[0] == theirs.shape[0] != 1:
        return lambda values: values[node][:1]  # rows that differ are found when graph and classifier are compared
    return lambda values: values[node]


def _shape(node: fx.Node) -> tuple[int, ...]:
    return tuple(int(size) for size in node.meta["val"].shape)


# affine operations


def _structural(injective: bool) -> Callable[[fx.Node, Place], Step]:
    """Operations that move, repeat, add up or average components: the call as it is traced."""

    def translated(node: fx.Node, place: Place) -> Step:
        operands: list[fx.Node] = []
        constants: list[Make] = []

        def slot(one: fx.Node) -> Any:
            if one in place:
                operands.append(one)
                return InputSlot(len(operands) - 1)
            constants.append(_per_image(one, node) if one.meta["val"].is_floating_point() else _value(one))
            return ConstantSlot(len(constants) - 1)

        args, kwargs = fx.node.map_arg((node.args, dict(node.kwargs)), slot)
        call = Call(node.target, tuple(args), dict(kwargs))  # type: ignore[arg-type]
        one_only = injective and len(operands) == 1
        return Affine(call, one_only), tuple(place[one] for one in operands), tuple(constants)

    return translated


def _reshaped(node: fx.Node, place: Place) -> Step:
    """A view: its shape names the traced number of rows, which is replaced."""
    operand = _argument(node, 0)
    function = torch.ops.aten.expand.default if _name(node) == "expand" else torch.reshape
    same = math.prod(_shape(operand)) == math.prod(_shape(node))
    return Affine(Call(function, (), out_shape=_shape(node)[1:]), same), (place[operand],), ()


def _padded(node: fx.Node, place: Place) -> Step:
    mode = "constant" if _name(node) == "constant_pad_nd" else _argument(node, 2, "mode", "constant")
    number = 2 if _name(node) == "constant_pad_nd" else 3
    value = _argument(node, number, "value")
    if mode == "constant" and value is not None and not math.isfinite(value):
        raise Unsupported.at(node, f"padding with {value}")
    call = Call(pad_with, (InputSlot(0), list(_argument(node, 1)), mode, value if mode == "constant" else None))
    return Affine(call, injective=mode == "constant"), (place[_argument(node, 0)],), ()


def _sum(node: fx.Node, place: Place) -> Step:
    """add, sub, rsub: a x + b y, where y may be a number or a constant."""
    name = _name(node)
    first, second, alpha = _argument(node, 0), _argument(node, 1, "other"), float(_argument(node, 2, "alpha", 1))
    factors = {"add": (1.0, alpha), "sub": (1.0, -alpha), "rsub": (-alpha, 1.0)}[name]
    return _weighted_sum(node, place, (first, second), factors)


def _negated(node: fx.Node, place: Place) -> Step:
    operand = _argument(node, 0)
    return Sum(Call(torch.neg, (InputSlot(0),)), factors=(-1.0,)), (place[operand],), ()


def _weighted_sum(node: fx.Node, place: Place, terms: Sequence[Any], factors: Sequence[float]) -> Step:
    operands = [one for one in terms if _depends(one, place)]
    constants: list[Make] = []
    slots: list[Any] = []
    for one in terms:
        if _depends(one, place):
            slots.append(InputSlot(sum(isinstance(slot, InputSlot) for slot in slots)))
        elif isinstance(one, fx.Node):
            slots.append(ConstantSlot(len(constants)))
            constants.append(_per_image(one, node))
        else:
            slots.append(one)
    a, b = factors

    def combined(x: Any, y: Any) -> Tensor:
        result: Tensor = (x if a == 1 else a * x) + (y if b == 1 else b * y)
        return result

    kept = tuple(factor for one, factor in zip(terms, factors, strict=True) if _depends(one, place))
    return Sum(Call(combined, tuple(slots)), factors=kept), tuple(place[one] for one in operands), tuple(constants)


def _product(node: fx.Node, place: Place) -> Step:
    """mul and div: by a number or a constant."""
    first, second = _argument(node, 0), _argument(node, 1, "other")
    if _name(node) == "div":
        if _depends(second, place):
            raise Unsupported.at(node, "a division by what depends on the image")
        if _argument(node, 2, "rounding_mode") is not None:
            raise Unsupported.at(node, "a division with rounding")
    elif _depends(first, place) and _depends(second, place):
        raise Unsupported.at(node, "a product of two things that depend on the image")
    operand, factor = (first, second) if _depends(first, place) else (second, first)
    inverse = _name(node) == "div"

    def made(values: Mapping[fx.Node, Any]) -> Tensor:
        value = _per_image(factor, node)(values) if isinstance(factor, fx.Node) else torch.tensor(float(factor))
        return value.double().reciprocal() if inverse else value

    return Bilinear(Call(torch.mul, (InputSlot(0), ConstantSlot(0))), by_component=True), (place[operand],), (made,)


def _with_constants(node: fx.Node, place: Place) -> Step:
    """matmul, einsum and their like: linear in one operand, with a constant for the other."""
    operands = [one for one in node.all_input_nodes if one in place]
    if len(operands) != 1:
        raise Unsupported.at(node, f"{_name(node)} of two things that depend on the image")
    step = _structural(False)(node, place)
    if len(step[1]) != 1:
        raise Unsupported.at(node, f"{_name(node)} of two things that depend on the image")
    return Bilinear(step[0].call), step[1], step[2]  # type: ignore[union-attr]


def _linear(node: fx.Node, place: Place) -> Step:
    _only_first(node, place)
    weight, bias = _argument(node, 1, "weight"), _argument(node, 2, "bias")
    slots = tuple(ConstantSlot(number) for number in range(1 if bias is None else 2))
    made = tuple(_value(one) for one in (weight, bias) if one is not None)
    return Linear(Call(F.linear, (InputSlot(0), *slots))), (place[_argument(node, 0)],), made


def _convolution(axes: int, transposed: bool) -> Callable[[fx.Node, Place], Step]:
    def translated(node: fx.Node, place: Place) -> Step:
        _only_first(node, place)
        weight, bias = _argument(node, 1, "weight"), _argument(node, 2, "bias")
        plain, turned = "stride padding dilation groups", "stride padding output_padding groups dilation"
        order = (turned if transposed else plain).split()
        given = {name: _argument(node, 3 + number, name) for number, name in enumerate(order)}
        stride, padding, dilation = given["stride"], given["padding"], given["dilation"]
        output_padding, groups = given.get("output_padding"), given["groups"] or 1
        stride, dilation = _each(stride, axes, 1), _each(dilation, axes, 1)
        if isinstance(padding, str):
            padding = _same_padding(node, padding, weight.meta["val"].shape[2:], dilation)
        padding, output_padding = _each(padding, axes, 0), _each(output_padding, axes, 0)
        made = tuple(_value(one) for one in (weight, bias) if one is not None)

        def convolved(x: Tensor, kernel: Tensor, shift: Tensor | None = None) -> Tensor:
            result: Tensor = torch.ops.aten.convolution(
                x, kernel, shift, stride, padding, dilation, transposed, output_padding, groups
            )
            return result

        slots = tuple(ConstantSlot(number) for number in range(len(made)))
        operation = Convolution(
            Call(convolved, (InputSlot(0), *slots)),
            stride=stride,
            padding=padding,
            dilation=dilation,
            transposed=transposed,
            output_padding=output_padding,
            groups=groups,
        )
        return operation, (place[_argument(node, 0)],), made

    return translated


def _each(value: Any, axes: int, default: int) -> tuple[int, ...]:
    """One number for each axis."""
    if value is None:
        return (default,) * axes
    if isinstance(value, int):
        return (value,) * axes
    return tuple(value) * axes if len(value) == 1 else tuple(value)


def _same_padding(node: fx.Node, word: str, kernel: Sequence[int], dilation: Sequence[int]) -> tuple[int, ...]:
    if word == "valid":
        return (0,) * len(kernel)
    total = [rate * (size - 1) for rate, size in zip(dilation, kernel, strict=True)]
    if any(one % 2 for one in total):
        raise Unsupported.at(node, "padding='same' with an even kernel, which pads one side more; pad with F.pad")
    return tuple(one // 2 for one in total)


def _normed(node: fx.Node, place: Place) -> Step:
    """Batch norm in eval mode: a factor and a shift for each channel."""
    _only_first(node, place)
    weight, bias = _argument(node, 1, "weight"), _argument(node, 2, "bias")
    mean, variance = _argument(node, 3, "running_mean"), _argument(node, 4, "running_var")
    whole = _name(node) == "batch_norm"
    if mean is None or (whole and bool(_argument(node, 5, "training"))):
        raise Unsupported.at(node, "a batch norm that normalises by its batch (track_running_stats=False)")
    eps = float(_argument(node, 7 if whole else 6, "eps"))

    def folded(values: Mapping[fx.Node, Any]) -> tuple[Tensor, Tensor]:
        scale, shift = (None if one is None else values[one] for one in (weight, bias))
        return folded_batch_norm(scale, shift, values[mean], values[variance], eps)

    call = Call(batch_norm, (InputSlot(0), ConstantSlot(0), ConstantSlot(1)))
    made = (lambda values: folded(values)[0], lambda values: folded(values)[1])
    return Bilinear(call, by_component=True), (place[_argument(node, 0)],), made


def _part(node: fx.Node, place: Place) -> Step:
    """A part of a split."""
    source, number = node.args
    assert isinstance(source, fx.Node)
    function, args, kwargs = source.target, source.args, dict(source.kwargs)

    def part(x: Tensor) -> Tensor:
        result: Tensor = function(x, *args[1:], **kwargs)[number]  # type: ignore[operator]
        return result

    return Affine(Call(part, (InputSlot(0),)), injective=True), (place[source],), ()


# maxima


def _pooled_maximum(node: fx.Node, place: Place) -> Step:
    """Max pooling over windows, global or adaptive, and the maximum along axes."""
    _only_first(node, place)
    operand = _argument(node, 0)
    row = torch.zeros(1, *_shape(operand)[1:], dtype=torch.float64)
    target, rest, kwargs = node.target, node.args[1:], dict(node.kwargs)

    def pool(x: Tensor) -> Tensor:
        result = target(x, *rest, **kwargs)  # type: ignore[operator]
        chosen: Tensor = result[0] if isinstance(result, tuple | list) else result
        return chosen

    sizes = _shape(operand)
    name = _name(node)
    if name in ("amax", "max"):
        groups = pooling_groups(row, lambda places: _along(node, places, rest))
    else:
        if name == "adaptive_max_pool2d":
            out = _each(rest[0], 2, 1)
            places = [_adaptive_places(size, count) for size, count in zip(sizes[-2:], out, strict=True)]
        else:
            places = _window_places(node, sizes)
        groups = pooling_groups(row, lambda row: _gathered(row, places))
    return Maximum(pool, groups), (place[operand],), ()


def _window_places(node: fx.Node, sizes: Sequence[int]) -> list[Tensor]:
    """For each axis the places (out, k) of the members of each window; the axis's size where there is none."""
    axes = 1 if "1d" in _name(node) else 2
    words = ("kernel_size", "stride", "padding", "dilation")
    kernel, stride, padding, dilation = (_argument(node, 1 + number, word) for number, word in enumerate(words))
    kernel = _each(kernel, axes, 1)
    stride, padding, dilation = _each(stride or kernel, axes, 1), _each(padding, axes, 0), _each(dilation, axes, 1)
    value = node.meta["val"]
    out = (value[0] if isinstance(value, tuple | list) else value).shape[-axes:]
    found = []
    for axis, size in enumerate(sizes[-axes:]):
        first = torch.arange(int(out[axis])) * stride[axis] - padding[axis]
        places = first[:, None] + torch.arange(kernel[axis]) * dilation[axis]
        found.append(places.where((places >= 0) & (places < size), size))
    return found


def _adaptive_places(size: int, out: int) -> Tensor:
    """The places (out, k) of the members of the windows of adaptive pooling along one axis."""
    number = torch.arange(out)
    first, last = number * size // out, -((-(number + 1) * size) // out)
    places = first[:, None] + torch.arange(int((last - first).max()))
    return places.where(places < last[:, None], size)


def _gathered(row: Tensor, places: Sequence[Tensor]) -> Tensor:
    """The members (n, k) of windows over the last axes of a row (1, ...) whose zeros are padding."""
    for axis, taken in enumerate(places):
        dim = row.ndim - len(places) + axis
        row = F.pad(row, [0, 0] * (row.ndim - 1 - dim) + [0, 1]).index_select(dim, taken.flatten())
    lead = row.shape[: row.ndim - len(places)]
    row = row.view(*lead, *(size for taken in places for size in taken.shape))
    first = len(lead)
    outs, members = range(first, row.ndim, 2), range(first + 1, row.ndim, 2)
    return row.permute(*range(first), *outs, *members).flatten(first + len(places)).flatten(0, -2)


def _along(node: fx.Node, row: Tensor, rest: Sequence[Any]) -> Tensor:
    """The members (n, k) of the maximum along axes."""
    dims = rest[0] if rest else []
    if isinstance(dims, fx.Node):
        raise Unsupported.at(node, "the maximum of two tensors")
    dims = [dims] if isinstance(dims, int) else list(dims)
    dims = sorted(dim % row.ndim for dim in dims)
    if not dims or dims[0] == 0:
        raise Unsupported.at(node, "a maximum over the images of a batch")
    kept = [dim for dim in range(row.ndim) if dim not in dims]
    return row.permute(*kept, *dims).flatten(len(kept)).flatten(0, -2)


# activations


def _number(value: Any, default: float) -> float:
    return default if value is None else float(value)


def _leaky(node: fx.Node) -> Activation:
    slope = _number(_argument(node, 1, "negative_slope"), 0.01)
    if not 0 <= slope <= 1:
        raise Unsupported.at(node, f"a leaky ReLU of slope {slope:g}, which is not in [0, 1]")
    return activations.hinge(slope)


def _elu(node: fx.Node) -> Activation:
    defaults = {"alpha": 1.0, "scale": 1.0, "input_scale": 1.0}
    if _name(node) == "selu":
        return activations.elu(1.6732632423543772, 1.0507009873554805)
    given = [_number(_argument(node, 1 + k, word), number) for k, (word, number) in enumerate(defaults.items())]
    if min(given) <= 0:
        raise Unsupported.at(node, f"{_name(node)} with alpha={given[0]:g}, which is not positive")
    if _name(node) == "celu":
        return activations.elu(given[0], 1.0, 1 / given[0])
    return activations.elu(*given)


def _clamp(node: fx.Node) -> Activation:
    name = _name(node)
    if name == "relu6":
        return activations.clamp(0.0, 6.0)
    if name == "clamp_min":
        low, high = _argument(node, 1, "min"), None
    elif name == "clamp_max":
        low, high = None, _argument(node, 1, "max")
    elif name == "hardtanh":
        low, high = _argument(node, 1, "min_val", -1.0), _argument(node, 2, "max_val", 1.0)
    else:
        low, high = _argument(node, 1, "min"), _argument(node, 2, "max")
    if isinstance(low, fx.Node) or isinstance(high, fx.Node):
        raise Unsupported.at(node, "a clamp to bounds that are tensors")
    if low == 0 and high is None:
        return activations.hinge(0.0)
    return activations.clamp(None if low is None else float(low), None if high is None else float(high))


def _gelu(node: fx.Node) -> Activation:
    return activations.gelu_tanh() if node.kwargs.get("approximate", "none") == "tanh" else activations.gelu()


def _softplus(node: fx.Node) -> Activation:
    return activations.softplus(
        _number(_argument(node, 1, "beta"), 1.0), _number(_argument(node, 2, "threshold"), 20.0)
    )


def _power(node: fx.Node) -> Activation:
    if _argument(node, 1, "exponent") != 2:
        raise Unsupported.at(node, f"a power of {_argument(node, 1, 'exponent')}")
    return activations.square()


def _prelu(node: fx.Node, place: Place) -> list[Step]:
    """w x + (1 - w) ReLU(x), whose bounds are no worse than those of a leaky ReLU with each channel's own slope."""
    _only_first(node, place)
    operand, weight = _argument(node, 0), _argument(node, 1, "weight")
    axes = len(_shape(node))

    def slopes(values: Mapping[fx.Node, Any]) -> Tensor:
        given: Tensor = values[weight]
        return given.view(1, -1, *[1] * (axes - 2)) if axes > 1 and given.numel() > 1 else given.reshape(1)

    scaled = Bilinear(Call(torch.mul, (InputSlot(0), ConstantSlot(0))), by_component=True)
    added = Sum(Call(torch.add, (InputSlot(0), InputSlot(1))), factors=(1.0, 1.0))
    return [
        (scaled, (place[operand],), (slopes,)),
        (activations.hinge(0.0), (place[operand],), ()),
        (scaled, (-1,), (lambda values: 1 - slopes(values),)),
        (added, (-3, -1), ()),
    ]


def same_as_operand(node: fx.Node) -> bool:
    """Tell whether a node is its first operand, unchanged, or a split, whose parts are other nodes."""
    name = _name(node)
    if name == "getitem":
        source = node.args[0]
        return isinstance(source, fx.Node) and _name(source) not in SPLITS
    if name == "_to_copy":
        if node.kwargs.get("dtype") not in (None, torch.float32, torch.float64):
            raise Unsupported.at(node, f"a conversion to {node.kwargs['dtype']}")
        return True
    return name in ("clone", "alias", "lift_fresh_copy", "detach", *SPLITS)


SPLITS = ("split_with_sizes", "split", "unbind", "chunk", "tensor_split")
_INJECTIVE = ("permute", "transpose", "t", "unsqueeze", "squeeze", "slice", "select", "flip")
_REPEATING = (
    "cat", "stack", "index", "index_select", "repeat", "roll", "mean", "sum", "avg_pool1d", "avg_pool2d", "avg_pool3d",
    "_adaptive_avg_pool2d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "upsample_nearest2d", "upsample_bilinear2d",
    "pixel_shuffle", "pixel_unshuffle", "channel_shuffle",
)  # fmt: skip
_AFFINE: dict[str, Callable[[fx.Node, Place], Step]] = {
    **dict.fromkeys(_INJECTIVE, _structural(True)),
    **dict.fromkeys(_REPEATING, _structural(False)),
    **dict.fromkeys(("view", "reshape", "_unsafe_view", "expand", "flatten"), _reshaped),
    **dict.fromkeys(("pad", "constant_pad_nd"), _padded),
    **dict.fromkeys(("add", "sub", "rsub"), _sum),
    **dict.fromkeys(("mul", "div"), _product),
    **dict.fromkeys(("matmul", "mm", "bmm", "einsum"), _with_constants),
    **dict.fromkeys(("batch_norm", "_native_batch_norm_legit_no_training"), _normed),
    **{f"conv{axes}d": _convolution(axes, False) for axes in (1, 2, 3)},
    **{f"conv_transpose{axes}d": _convolution(axes, True) for axes in (1, 2, 3)},
    "neg": _negated,
    "linear": _linear,
}
_POOLED: dict[str, Callable[[fx.Node, Place], Step]] = dict.fromkeys(
    ("max_pool1d", "max_pool2d", "max_pool2d_with_indices", "adaptive_max_pool2d", "amax", "max"), _pooled_maximum
)
_ACTIVATIONS: dict[str, Callable[[fx.Node], Activation]] = {
    "relu": lambda node: activations.hinge(0.0),
    "leaky_relu": _leaky,
    **dict.fromkeys(("elu", "selu", "celu"), _elu),
    **dict.fromkeys(("clamp", "clamp_min", "clamp_max", "hardtanh", "relu6"), _clamp),
    "tanh": lambda node: activations.tanh(),
    "sigmoid": lambda node: activations.sigmoid(),
    "gelu": _gelu,
    "silu": lambda node: activations.silu(),
    "softplus": _softplus,
    "hardswish": lambda node: activations.hardswish(),
    "hardsigmoid": lambda node: activations.hardsigmoid(),
    "exp": lambda node: activations.exponential(),
    "abs": lambda node: activations.absolute(),
    "square": lambda node: activations.square(),
    "pow": _power,
}
