"""Checks of networks and images before a stage is made or trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...errors import InputError, TargetError


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
