"""Colour spaces: sRGB as pictures are stored, linear light in which lenses and sensors add up, and CIELAB.

IEC 61966-2-1 gives sRGB and its matrix to XYZ (white point D65); CIE 15:2004 gives LAB.
"""

from __future__ import annotations

from enum import Enum

import torch
from torch import Tensor

KNEE, LINEAR_KNEE = 0.04045, 0.0031308  # below which sRGB is a straight line
TO_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
WHITE = (0.95047, 1.0, 1.08883)  # D65
LUMINANCE = TO_XYZ[1]
LAB_KNEE = 6 / 29


class Light(Enum):
    """What the values of an image are: `SRGB` as it is stored, or `LINEAR` in the amount of light."""

    SRGB = "srgb"
    LINEAR = "linear"


def to_linear(images: Tensor) -> Tensor:
    """Return the linear light of sRGB values of any shape; the gradient is finite everywhere."""
    curve = ((images.clamp_min(KNEE) + 0.055) / 1.055) ** 2.4
    return torch.where(images <= KNEE, images / 12.92, curve)


def to_srgb(light: Tensor) -> Tensor:
    """Return the sRGB values of linear light of any shape; the gradient is finite everywhere."""
    curve = 1.055 * light.clamp_min(LINEAR_KNEE) ** (1 / 2.4) - 0.055
    return torch.where(light <= LINEAR_KNEE, light * 12.92, curve)


def convert(images: Tensor, given: Light, wanted: Light) -> Tensor:
    """Return the images, which are in `given`, in `wanted`."""
    if given is wanted:
        return images
    return to_linear(images) if wanted is Light.LINEAR else to_srgb(images)


def luminance(light: Tensor) -> Tensor:
    """Return the luminance (B, 1, H, W) of linear light (B, 1 or 3, H, W)."""
    if light.shape[1] == 1:
        return light
    return (light * light.new_tensor(LUMINANCE)[:, None, None]).sum(1, keepdim=True)


def to_lab(images: Tensor) -> Tensor:
    """Return sRGB images (B, 3, H, W) in CIELAB: L from 0 to 100, a and b about from -100 to 100."""
    xyz = torch.einsum("kc,bchw->bkhw", images.new_tensor(TO_XYZ), to_linear(images))
    ratio = xyz / images.new_tensor(WHITE)[:, None, None]
    root = ratio.clamp_min(LAB_KNEE**3) ** (1 / 3)
    f = torch.where(ratio > LAB_KNEE**3, root, ratio / (3 * LAB_KNEE**2) + 4 / 29)
    x, y, z = f.unbind(1)
    return torch.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), 1)
