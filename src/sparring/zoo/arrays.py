"""Images given as arrays or tensors: checks of type, range and layout, and one conversion to floats in [0, 1]."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import ConfigError, InputError
from ..inputs import range_cure
from .dataset import Row
from .loaded import InputSpec

CHANNELS = (1, 3)
VALUES_LIMIT = 300_000_000
BLACKENING = 100  # a white over which pixels of [0, 1] would be nearly black
UNIT = (torch.float32, torch.float64)


def array_layout(name: str, shape: Sequence[int], spec: InputSpec | None) -> str:
    """Return "NHW", "NCHW" or "NHWC" for that shape; InputError where it is unclear or does not fit the model."""
    if 0 in shape or prod(shape[1:]) > VALUES_LIMIT:
        raise InputError(f"{name}: images of shape {tuple(shape)} are empty or too large; give (N, C, H, W)")
    if len(shape) == 3:
        readings = {"NHW": (1, shape[1], shape[2])}
    elif len(shape) == 4:
        both = {"NCHW": (shape[1], shape[2], shape[3]), "NHWC": (shape[3], shape[1], shape[2])}
        readings = {order: size for order, size in both.items() if spec is not None or size[0] in CHANNELS}
    else:
        cure = "they must be (N, C, H, W), (N, H, W, C) or (N, H, W)"
        raise InputError(f"{name}: images have shape {tuple(shape)}; {cure}")
    if spec is not None:
        return _fitting(name, shape, readings, spec)
    if len(readings) != 1:
        why = "may be (N, C, H, W) or (N, H, W, C)" if readings else "have neither 1 nor 3 channels"
        cure = "save them as (N, C, H, W) with 1 or 3 channels"
        raise InputError(f"{name}: images of shape {tuple(shape)} {why}; {cure}")
    return next(iter(readings))


def _fitting(name: str, shape: Sequence[int], readings: dict[str, tuple[int, int, int]], spec: InputSpec) -> str:
    wanted = (spec.channels, spec.height, spec.width)
    for order, size in readings.items():
        if size == wanted:
            return order
    raise InputError(
        f"{name}: images of shape {tuple(shape)} do not fit the model, which takes "
        f"{spec.channels} channels of {spec.height} x {spec.width}; save them so, as (N, C, H, W)"
    )


def pixel_tensor(name: str, pixels: Any) -> Tensor:
    """Return an array or tensor of numbers as a tensor on the CPU; InputError where it holds none."""
    if isinstance(pixels, Tensor):
        check_dense_pixels(name, pixels)
        return pixels.detach().cpu()
    array = np.asarray(pixels)
    if array.dtype.kind not in "biuf":
        raise InputError(f"{name} has pixels of type {array.dtype}; use uint8, or floats in [0, 1]")
    array = array.astype(np.float64 if array.dtype.itemsize > 8 else array.dtype.newbyteorder("="), copy=False)
    return torch.from_numpy(array.copy() if not array.flags.writeable else np.ascontiguousarray(array))


def check_dense_pixels(name: str, pixels: Tensor) -> None:
    """Raise InputError for a tensor without plain values: a sparse one, or one on the meta device."""
    if pixels.is_meta or pixels.layout != torch.strided:
        kind = "on the meta device, where tensors have no values" if pixels.is_meta else f"{pixels.layout}"
        raise InputError(f"{name} is {kind}; pass a dense tensor with its values, as pixels.to_dense()")


def image_batch(
    name: str, pixels: Tensor, order: str, scale: float | None = None, first: int | None = 0, *, double: bool = False
) -> Tensor:
    """Return images (N, C, H, W) as float32 in [0, 1].

    uint8 is divided by 255, bools are black and white, floats are taken as they are; with `scale`, the value of white,
    all are divided by that. Other integers say their white by `scale`, since nothing else does.

    Args:
        order: the layout, as `array_layout` names it.
        first: the number of the first image, for errors; None: `name` is one image.
        double: float64 stays float64.

    Raises: InputError, which names the first image with NaN or values out of range.
    """
    if not (pixels.is_floating_point() or pixels.dtype in (torch.uint8, torch.bool)) and scale is None:
        if pixels.dtype.is_complex:
            raise InputError(f"{name} has pixels of type {kind_of(pixels)}; use uint8, or floats in [0, 1]")
        low, high = (int(end) for end in pixels.to(torch.int64).aminmax())
        raise InputError(
            f"{name} has pixels of type {kind_of(pixels)} from {low} to {high}, and which value is white is not known; "
            f"use uint8, or floats in [0, 1], or say it, as --scale {white_guess(high)} (in Python scale=)"
        )
    white = scale if scale is not None else 255 if pixels.dtype == torch.uint8 else 1
    if scale is not None and (pixels.is_floating_point() or pixels.dtype == torch.bool):
        check_not_scaled_before(name, pixels, first, scale)
    scaled = pixels.to(torch.float64 if pixels.dtype == torch.float64 and double else torch.float32)
    if white != 1:
        scaled = scaled / white
    check_unit(name, scaled, first, white)
    if order == "NHW":
        return scaled[:, None]
    return scaled.permute(0, 3, 1, 2).contiguous() if order == "NHWC" else scaled


def check_not_scaled_before(name: str, pixels: Tensor, first: int | None, white: float) -> None:
    """Raise InputError where an image lies in [0, 1] already, and would be nearly black once divided by `white`."""
    high = pixels.flatten(1).amax(1)
    within = (high > 0) & (high <= 1)
    if white < BLACKENING or not bool(within.any()):
        return
    row = int(within.nonzero()[0])
    image = name if first is None else f"{name}: image {first + row}"
    raise InputError(
        f"{image} has pixels up to {float(high[row]):.4g}, which lie in [0, 1] already, and would be nearly black "
        f"over a white of {white:g}; leave out --scale (in Python scale=)"
    )


def check_unit(name: str, scaled: Tensor, first: int | None, white: float) -> None:
    """Raise InputError where a pixel is NaN or outside [0, 1]; all are in units of `white`."""
    low, high = scaled.flatten(1).aminmax(dim=1)
    wrong = ~((low >= 0) & (high <= 1))
    if not bool(wrong.any()):
        return
    row = int(wrong.nonzero()[0])
    image = name if first is None else f"{name}: image {first + row}"
    if not bool(scaled[row].isfinite().all()):
        raise InputError(f"{image} holds NaN or infinity; take such images out")
    bottom, top = float(low[row]) * white, float(high[row]) * white
    if white != 1:
        raise InputError(f"{image} has pixels from {bottom:.4g} to {top:.4g}, outside 0 to {white:g}, the scale")
    cure = range_cure(bottom, top, whole=bool((scaled[row] == scaled[row].round()).all()))
    raise InputError(f"{image} has pixels from {bottom:.4g} to {top:.4g}; floats must lie in [0, 1]: {cure}")


def kind_of(pixels: Tensor) -> str:
    """Return the name of the type, as NumPy has it."""
    return str(pixels.dtype).removeprefix("torch.")


def white_guess(high: int) -> int:
    """Return the least of the usual values of white that no pixel exceeds: of 8, 10, 12, 14 or 16 bits, or more."""
    return next((2**bits - 1 for bits in (8, 10, 12, 14, 16) if high < 2**bits), max(high, 1))


def check_scale(scale: float | None) -> float | None:
    """Return the scale as a float; ConfigError where it is no number above 0."""
    if scale is None:
        return None
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < scale < float("inf"):
        raise ConfigError(f"scale={scale!r:.80} is no value of white; pass a number above 0, as 4095")
    return float(scale)


def array_rows(
    name: str,
    images: Iterable[NDArray[Any] | Tensor],
    labels: NDArray[np.int64] | None,
    order: str,
    scale: float | None,
) -> Iterator[Row]:
    """Yield one row per picture."""
    for place, pixels in enumerate(images):
        image = f"{name}: image {place}"
        label = None if labels is None else int(labels[place])
        yield Row(image_batch(image, pixel_tensor(image, pixels)[None], order, scale, None)[0], label, str(place))
