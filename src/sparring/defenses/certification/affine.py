"""Affine operations of a network: what they do to points, to intervals, and backwards to linear functions.

    apply      x -> W x + b
    spread     r -> |W| r                  the radii of intervals
    transpose  A -> A W                    the coefficients of linear functions of the output

An operation is called as torch calls it. Its transpose is its vector-Jacobian product, so that no operation needs one
of its own; convolutions and linear layers, where time goes, have theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .windows import Windows

Constants = Sequence[Tensor]


@dataclass(frozen=True)
class InputSlot:
    """The place of an operation's argument that depends on the network's input: the operand of this number."""

    number: int


@dataclass(frozen=True)
class ConstantSlot:
    """The place of an operation's constant argument: a weight, or what is computed from weights alone."""

    number: int


@dataclass(frozen=True)
class Call:
    """A call of a torch operation with slots among its arguments.

    Args:
        function: the operation.
        args, kwargs: its arguments; `InputSlot` and `ConstantSlot` stand for tensors.
        out_shape: the shape of one row of the result, for operations that name the whole shape; None: they do not.
        first: the operation returns several tensors, of which the first is meant.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    out_shape: tuple[int, ...] | None = None
    first: bool = False

    def __call__(self, operands: Sequence[Tensor], constants: Constants) -> Tensor:
        """Return the result (N, ...) for operands with N rows each."""
        if self.out_shape is not None:
            rows = len(operands[0])
            return self.function(operands[0], [rows, *self.out_shape])  # type: ignore[no-any-return]

        def filled(argument: Any) -> Any:
            if isinstance(argument, InputSlot):
                return operands[argument.number]
            if isinstance(argument, ConstantSlot):
                return constants[argument.number]
            if isinstance(argument, list | tuple):
                return [filled(one) for one in argument]
            return argument

        result = self.function(*map(filled, self.args), **{name: filled(one) for name, one in self.kwargs.items()})
        chosen: Tensor = result[0] if self.first else result
        return chosen


@dataclass(frozen=True)
class Affine:
    """An affine operation with non-negative coefficients of at most 1, as views, slices, padding and averages have.

    `injective`: each component of the result is a constant or a component of the operand, none of them twice.
    """

    call: Call
    injective: bool = False

    @property
    def elementwise(self) -> bool:
        """Does each component of the result depend on one component of each operand, up to broadcasting?"""
        return False

    def apply(self, operands: Sequence[Tensor], constants: Constants) -> Tensor:
        """Return the results (N, ...) at the operands (N, ...)."""
        return self.call(operands, constants)

    def offset(self, operands: Sequence[Tensor], constants: Constants) -> Tensor:
        """Return the result (1, ...) at operands of zeros; of the operands only the shapes count."""
        return self.call([torch.zeros_like(one[:1]) for one in operands], constants)

    def spread(self, radii: Sequence[Tensor], constants: Constants) -> Tensor:
        """Return |W| r (N, ...) for radii (N, ...)."""
        return self.call(radii, constants) - self.offset(radii, constants)

    def spread_squares(self, squares: Sequence[Tensor], constants: Constants) -> Tensor:
        """Return no less than W^2 s (N, ...) for the squares s (N, ...); coefficients in [0, 1] are not squared."""
        return self.spread(squares, constants)

    def transpose(
        self, coefficients: Tensor, constants: Constants, shapes: Sequence[tuple[int, ...]]
    ) -> tuple[Tensor, ...]:
        """Return A W for A (N, ...), one (N, *shape) for each operand."""
        create = torch.is_grad_enabled()
        with torch.enable_grad():
            zeros = [
                torch.zeros(len(coefficients), *shape, dtype=coefficients.dtype, device=coefficients.device)
                for shape in shapes
            ]
            for zero in zeros:
                zero.requires_grad_()
            result = self.call(zeros, constants)
            return torch.autograd.grad(result, zeros, coefficients, create_graph=create, materialize_grads=True)


@dataclass(frozen=True)
class Sum(Affine):
    """a x + b y, where either may be constant; `factors` are those of the operands."""

    factors: tuple[float, ...] = (1.0,)

    @property
    def elementwise(self) -> bool:
        return True

    def spread(self, radii: Sequence[Tensor], constants: Constants) -> Tensor:
        scaled = [abs(factor) * one for factor, one in zip(self.factors, radii, strict=True)]
        total = sum(scaled[1:], scaled[0])
        return total.expand(len(total), *self.offset(radii, constants).shape[1:])

    def spread_squares(self, squares: Sequence[Tensor], constants: Constants) -> Tensor:
        scaled = [factor**2 * one for factor, one in zip(self.factors, squares, strict=True)]
        total = sum(scaled[1:], scaled[0])
        return total.expand(len(total), *self.offset(squares, constants).shape[1:])

    def transpose(
        self, coefficients: Tensor, constants: Constants, shapes: Sequence[tuple[int, ...]]
    ) -> tuple[Tensor, ...]:
        if any(tuple(coefficients.shape[1:]) != shape for shape in shapes):  # one of them is broadcast
            return super().transpose(coefficients, constants, shapes)
        return tuple(coefficients if factor == 1 else factor * coefficients for factor in self.factors)


@dataclass(frozen=True)
class Bilinear(Affine):
    """An operation that is linear in its operand and in its constants: products, matrix products, convolutions."""

    by_component: bool = False

    @property
    def elementwise(self) -> bool:
        return self.by_component

    def spread(self, radii: Sequence[Tensor], constants: Constants) -> Tensor:
        return self._weighted(radii, [one.abs() for one in constants])

    def spread_squares(self, squares: Sequence[Tensor], constants: Constants) -> Tensor:
        return self._weighted(squares, [one.square() for one in constants])

    def _weighted(self, values: Sequence[Tensor], constants: Constants) -> Tensor:
        return self.call(values, constants) - self.offset(values, constants)


@dataclass(frozen=True)
class Weighted(Bilinear):
    """An operation with a weight, its first constant, and perhaps a bias, its second."""

    def interval(self, low: Tensor, high: Tensor, constants: Constants) -> tuple[Tensor, Tensor]:
        """Return the least and the greatest value (N, ...) for operands between low and high (N, ...)."""
        half, biases = constants[0] / 2, constants[1:]
        centre, radius = self.call([low + high], [half, *biases]), self._weighted([high - low], [half.abs(), *biases])
        return centre - radius, centre + radius

    def _weighted(self, values: Sequence[Tensor], constants: Constants) -> Tensor:
        return self.call(values, [constants[0], *(torch.zeros_like(bias) for bias in constants[1:])])


@dataclass(frozen=True)
class Linear(Weighted):
    """x W^T + b over the last axis."""

    def transpose(
        self, coefficients: Tensor, constants: Constants, shapes: Sequence[tuple[int, ...]]
    ) -> tuple[Tensor, ...]:
        return (coefficients @ constants[0],)


@dataclass(frozen=True)
class Convolution(Weighted):
    """A convolution or a transposed one, over any number of axes.

    Its transpose is the backward pass of torch, so that padding, stride, dilation and groups need no arithmetic here.
    """

    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    transposed: bool = False
    output_padding: tuple[int, ...] = ()
    groups: int = 1

    def transpose(
        self, coefficients: Tensor, constants: Constants, shapes: Sequence[tuple[int, ...]]
    ) -> tuple[Tensor, ...]:
        shaped = coefficients.new_empty(1).expand(len(coefficients), *shapes[0])  # only its shape is read
        back: Tensor = torch.ops.aten.convolution_backward(
            coefficients,
            shaped,
            constants[0],
            None,
            self.stride,
            self.padding,
            self.dilation,
            self.transposed,
            self.output_padding,
            self.groups,
            (True, False, False),
        )[0]
        return (back,)

    def transpose_windows(self, windows: Windows, constants: Constants, shape: tuple[int, ...]) -> Windows:
        """Return A W for coefficients that are windows, of a convolution that is not transposed."""
        given = self.stride, self.padding, self.dilation, self.groups
        return windows.through_convolution(constants[0], *given, shape[1:])


def batch_norm(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return scale * x + shift, each of which has one value per channel."""
    shape = (1, -1, *[1] * (x.ndim - 2))
    return torch.addcmul(shift.view(shape), x, scale.view(shape))


def folded_batch_norm(
    weight: Tensor | None, bias: Tensor | None, mean: Tensor, variance: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Return scale and shift of a batch norm in eval mode, in float64."""
    scale = (variance.double() + eps).rsqrt()
    scale = scale if weight is None else scale * weight.double()
    shift = -mean.double() * scale
    return scale, shift if bias is None else shift + bias.double()


def pad_with(x: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """Return x padded, as torch.nn.functional.pad does it."""
    return F.pad(x, list(pad), mode, value)
