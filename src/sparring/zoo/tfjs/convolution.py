"""Convolutions and pooling of TensorFlow graphs, on (B, H, W, C) or (B, C, H, W), with its padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ...errors import TargetError
from .graph import Node

Sides = tuple[int, int]  # down, right
Pads = tuple[int, int, int, int]  # left, right, top, bottom
SIDE_LIMIT = 2**14


def same_padding(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """Return the pixels that TensorFlow's SAME puts before and after a side: ceil(size / stride) remain.

    Of an odd number the larger half comes after.
    """
    missing = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return missing // 2, missing - missing // 2


def conv2d(node: Node, x: Tensor, filters: Tensor) -> Tensor:
    """Return `Conv2D`: filters are (height, width, channels in, channels out)."""
    return _convolved(node, x, filters, filters.permute(3, 2, 0, 1), 1)


def depthwise_conv2d(node: Node, x: Tensor, filters: Tensor) -> Tensor:
    """Return `DepthwiseConv2dNative`: filters are (height, width, channels, multiplier)."""
    height, width, channels, multiplier = filters.shape
    kernels = filters.permute(2, 3, 0, 1).reshape(channels * multiplier, 1, height, width)
    return _convolved(node, x, filters, kernels, channels)


def transposed_conv2d(node: Node, size: Tensor, filters: Tensor, y: Tensor) -> Tensor:
    """Return `Conv2DBackpropInput`: inputs (B, H, W, C) of shape `size` that a convolution would have made `y` of.

    Filters are those of that convolution: (height, width, channels of the result, channels of y).
    """
    first, strides = channels_first(node), _sides(node, "strides")
    if _sides(node, "dilations") != (1, 1):
        raise TargetError(f"{node} has dilations, which cannot be run")
    sides = [int(side) for side in size.reshape(-1).tolist()]
    high, wide = sides[2:] if first else sides[1:3]
    if not (0 < high <= SIDE_LIMIT and 0 < wide <= SIDE_LIMIT):
        raise TargetError(f"{node} makes images of {high} x {wide} pixels")
    whole = F.conv_transpose2d(y if first else y.permute(0, 3, 1, 2), filters.permute(3, 2, 0, 1), None, strides)
    left, _, top, _ = _pads(node, whole.new_empty(0, 1, high, wide), filters.shape[:2], strides, (1, 1))
    x = F.pad(whole, (0, max(left + wide - whole.shape[3], 0), 0, max(top + high - whole.shape[2], 0)))
    x = x[:, :, top : top + high, left : left + wide]
    return x if first else x.permute(0, 2, 3, 1)


def filters_in_order(filters: Tensor, depthwise: bool) -> Tensor:
    """Return the filters, of the same shape, with memory in the order in which torch's convolution reads it."""
    if filters.ndim != 4:
        return filters
    if depthwise:
        return filters.permute(2, 3, 0, 1).contiguous().permute(2, 3, 0, 1)
    return filters.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last).permute(2, 3, 1, 0)


def _convolved(node: Node, x: Tensor, filters: Tensor, kernels: Tensor, groups: int) -> Tensor:
    first = channels_first(node)
    strides, dilations = _sides(node, "strides"), _sides(node, "dilations")
    images = x if first else x.permute(0, 3, 1, 2)
    pads = _pads(node, images, filters.shape[:2], strides, dilations)
    images, (high, wide) = _padded_evenly(images, pads)
    y = F.conv2d(images, kernels, None, strides, (high, wide), dilations, groups)
    return y if first else y.permute(0, 2, 3, 1)


def max_pool(node: Node, x: Tensor) -> Tensor:
    """Return `MaxPool`; padding is never the maximum."""

    def pool(images: Tensor, pads: Pads, kernel: Sides, strides: Sides) -> Tensor:
        images = F.pad(images, pads, value=-torch.inf) if any(pads) else images
        largest: Tensor = F.max_pool2d(images, kernel, strides)
        return largest

    return _pooled(node, x, pool)


def average_pool(node: Node, x: Tensor) -> Tensor:
    """Return `AvgPool`, the mean over the pixels of a window that lie within the image."""

    def pool(images: Tensor, pads: Pads, kernel: Sides, strides: Sides) -> Tensor:
        if not any(pads):
            return F.avg_pool2d(images, kernel, strides)
        inside = F.pad(images.new_ones(1, 1, *images.shape[2:]), pads)
        total = F.avg_pool2d(F.pad(images, pads), kernel, strides)
        return total / F.avg_pool2d(inside, kernel, strides)

    return _pooled(node, x, pool)


def _pooled(node: Node, x: Tensor, pool: Callable[[Tensor, Pads, Sides, Sides], Tensor]) -> Tensor:
    first = channels_first(node)
    kernel, strides = _sides(node, "ksize"), _sides(node, "strides")
    images = x if first else x.permute(0, 3, 1, 2)
    y = pool(images, _pads(node, images, kernel, strides, (1, 1)), kernel, strides)
    return y if first else y.permute(0, 2, 3, 1)


def channels_first(node: Node) -> bool:
    """Tell whether the node works on (B, C, H, W)."""
    layout = node.text("data_format", "NHWC")
    if layout not in ("NHWC", "NCHW"):
        raise TargetError(f"{node} has the data format {layout!r:.20}; NHWC and NCHW can be run")
    return layout == "NCHW"


def _sides(node: Node, name: str) -> Sides:
    """Return the two spatial entries of an attribute that has one for each axis."""
    values = node.integers(name, (1, 1, 1, 1) if name == "dilations" else ())
    if len(values) != 4 or not all(1 <= value <= 2**14 for value in values):
        raise TargetError(f"{node} has {name} {values!r:.60}; four integers from 1 on are needed")
    down, right = values[2:] if channels_first(node) else values[1:3]
    if down * right != values[0] * values[1] * values[2] * values[3]:
        raise TargetError(f"{node} has {name} {values} over axes that are no sides of an image")
    return down, right


def _pads(node: Node, images: Tensor, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> Pads:
    kind = node.text("padding")
    if kind == "VALID":
        return 0, 0, 0, 0
    if kind == "SAME":
        vertical, horizontal = (
            same_padding(images.shape[2 + axis], kernel[axis], strides[axis], dilations[axis]) for axis in (0, 1)
        )
        return *horizontal, *vertical
    pads = node.integers("explicit_paddings")
    if kind != "EXPLICIT" or len(pads) != 8 or not all(0 <= pad <= 2**14 for pad in pads):
        raise TargetError(f"{node} has the padding {kind!r:.20} {pads!r:.60}; SAME, VALID or eight numbers can be run")
    top, bottom, left, right = pads[4:] if channels_first(node) else pads[2:6]
    return left, right, top, bottom


def _padded_evenly(images: Tensor, pads: Pads) -> tuple[Tensor, tuple[int, int]]:
    """Return images and the padding that a convolution adds itself, which is the same on both sides."""
    left, right, top, bottom = pads
    if left == right and top == bottom:
        return images, (top, left)
    return F.pad(images, pads), (0, 0)
