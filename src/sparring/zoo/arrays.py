"""Images given as arrays: checks of type, range and layout, row by row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import InputError
from .dataset import Row
from .loaded import InputSpec

CHANNELS = (1, 3)
VALUES_LIMIT = 300_000_000


def array_layout(name: str, shape: Sequence[int], spec: InputSpec | None) -> str:
    """Return "NHW", "NCHW" or "NHWC" for that shape; InputError where it is unclear or does not fit the model."""
    if 0 in shape or prod(shape[1:]) > VALUES_LIMIT:
        raise InputError(f"{name}: images of shape {tuple(shape)} are empty or too large; give (N, C, H, W)")
    if len(shape) == 3:
        readings = {"NHW": (1, shape[1], shape[2])}
    elif len(shape) == 4:
        both = {"NCHW": (shape[1], shape[2], shape[3]), "NHWC": (shape[3], shape[1], shape[2])}
        readings = {order: size for order, size in both.items() if size[0] in CHANNELS}
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


def array_image(name: str, pixels: NDArray[Any], order: str) -> torch.Tensor:
    """Return one picture as (C, H, W) float in [0, 1]; `order` is the layout of the whole array."""
    if pixels.dtype == np.uint8:
        scaled = pixels.astype(np.float32) / np.float32(255)
    elif np.issubdtype(pixels.dtype, np.floating):
        scaled = pixels.astype(np.float32)
        if not np.isfinite(scaled).all():
            raise InputError(f"{name} holds NaN or infinity; take such images out")
        low, high = float(scaled.min()), float(scaled.max())
        if low < 0 or high > 1:
            cure = "floats must lie in [0, 1]: divide by 255"
            raise InputError(f"{name} has pixels from {low:.4g} to {high:.4g}; {cure}")
    else:
        raise InputError(f"{name} has pixels of type {pixels.dtype}; use uint8, or floats in [0, 1]")
    if order == "NHW":
        scaled = scaled[None]
    elif order == "NHWC":
        scaled = scaled.transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(scaled))


def array_labels(name: str, labels: NDArray[Any], count: int, classes: int | None) -> NDArray[np.int64]:
    """Return the labels as int64; InputError unless they are whole numbers 0 .. classes - 1, one per image."""
    if labels.shape != (count,):
        cure = "one number per image is needed"
        raise InputError(f"{name}: labels of shape {labels.shape} beside {count} images; {cure}")
    if not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"{name}: labels are {labels.dtype}; save them as integers")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or (classes is not None and high >= classes):
        reach = f"0 to {classes - 1}" if classes else "0 upward"
        raise InputError(f"{name}: labels go from {low} to {high}; the model's classes are {reach}")
    return labels.astype(np.int64)


def array_rows(
    name: str, images: Iterable[NDArray[Any]], labels: NDArray[np.int64] | None, order: str
) -> Iterator[Row]:
    """Yield one row per picture."""
    for place, pixels in enumerate(images):
        label = None if labels is None else int(labels[place])
        yield Row(array_image(f"{name}: image {place}", pixels, order), label, str(place))
