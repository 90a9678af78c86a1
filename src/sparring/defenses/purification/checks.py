"""Checks of parameters, networks and images, before a stage is made or learns."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ...errors import ConfigError, InputError, TargetError


def check_whole(stage: object, word: str, value: object, low: int, high: int | None = None) -> None:
    """Raise ConfigError where a parameter is no int from `low` to `high`."""
    if type(value) is not int or value < low or (high is not None and value > high):
        wanted = f"an int >= {low}" if high is None else f"an int from {low} to {high}"
        raise ConfigError(f"{type(stage).__name__} {word}={value!r}; pass {wanted}")


def check_number(
    stage: object, word: str, value: object, low: float, high: float = math.inf, *, above: bool = False
) -> None:
    """Raise ConfigError where a parameter is no finite number from `low` (or `above` it) to `high`."""
    fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not fits or not (value > low if above else value >= low) or not value <= high:  # type: ignore[operator]
        least = f"above {low:g}" if above else f">= {low:g}"
        wanted = f"a number {least}" + ("" if high == math.inf else f" and <= {high:g}")
        raise ConfigError(f"{type(stage).__name__} {word}={value!r}; pass {wanted}")


def check_module(stage: object, module: object) -> None:
    """Raise TargetError where there is no network."""
    if not isinstance(module, nn.Module):
        raise TargetError(f"{type(stage).__name__} is built around a torch.nn.Module, not a {type(module).__name__}")


def check_clean_images(what: str, images: object, channels: int | None = None) -> None:
    """Raise InputError where images to learn from are no float tensor (N >= 1, C, H, W) in [0, 1]."""
    if not isinstance(images, Tensor) or images.ndim != 4 or not images.is_floating_point():
        got = f"{images.dtype} {tuple(images.shape)}" if isinstance(images, Tensor) else type(images).__name__
        raise InputError(f"{what} takes float images (N, C, H, W) in [0, 1]; got {got}")
    if images.numel() == 0:
        raise InputError(f"{what} has nothing to learn from: {tuple(images.shape)}")
    if not bool(((images >= 0) & (images <= 1)).all()):
        raise InputError(f"{what} takes images in [0, 1], and these have pixels outside it or NaN; pass clean images")
    if channels is not None and images.shape[1] != channels:
        raise InputError(f"{what} takes {channels} channels, and these images have {images.shape[1]}")


def cast_to_weights(module: nn.Module, images: Tensor) -> Tensor:
    """Return the images in the dtype of the module's weights, as a network takes them."""
    weight = next((weight for weight in module.parameters() if weight.is_floating_point()), None)
    return images if weight is None else images.to(weight.dtype)


def finite(value: Tensor) -> bool:
    """Is every entry a number?"""
    return bool(torch.isfinite(value).all())
