"""Reading of picture files as tensors of the size and channels that a model takes.

JPEG, PNG, WebP and BMP; gray, palette, CMYK, 16-bit and transparent ones (laid on white), turned as EXIF
says.
"""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from ..errors import ConfigError, InputError, nearest
from .loaded import InputSpec

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
PIXEL_LIMIT = 100_000_000
LONGEST_TO_SHORTEST = 4
FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}


class Unreadable(Exception):
    """Raised where a picture cannot be read; the message says why."""


def read_picture(path: Path, spec: InputSpec | None) -> Tensor:
    """Read a picture as (C, H, W) float in [0, 1], fitted to `spec`, or RGB as it is; Unreadable where it cannot be."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                if image.width * image.height > PIXEL_LIMIT:
                    raise Unreadable(f"{image.width} x {image.height} pixels, over the limit of {PIXEL_LIMIT:,}")
                return picture_tensor(fit_picture(upright_8_bit(image), spec))
    except Image.DecompressionBombError as error:
        raise Unreadable(f"a decompression bomb: over the limit of {PIXEL_LIMIT:,} pixels") from error
    except UnidentifiedImageError as error:
        raise Unreadable("not a JPEG, PNG, WebP or BMP picture") from error
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, MemoryError) as error:
        raise Unreadable(f"broken or truncated: {error}") from error


def upright_8_bit(image: Image.Image) -> Image.Image:
    """Return the picture upright, with 8 bits per channel, in mode L or RGB."""
    turned: Image.Image = ImageOps.exif_transpose(image)
    if turned.mode.startswith("I") or turned.mode == "F":
        return Image.fromarray((np.asarray(turned, dtype=np.float64) / 257).round().clip(0, 255).astype(np.uint8))
    if turned.has_transparency_data:
        clear = turned.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB")
    return turned.convert("L") if turned.mode in ("1", "L") else turned.convert("RGB")


def fit_picture(image: Image.Image, spec: InputSpec | None) -> Image.Image:
    """Return the picture with the channels and size of `spec`; without one, as RGB in its own size."""
    if spec is None:
        return image.convert("RGB")
    if spec.channels not in (1, 3):
        raise InputError(f"the model takes {spec.channels} channels, and pictures have 1 or 3; use npz:FILE")
    image = image.convert("L" if spec.channels == 1 else "RGB")
    goal = (spec.width, spec.height)
    if image.size == goal and (spec.crop_fraction == 1 or spec.squash):
        return image
    if spec.squash:
        return image.resize(goal, resampling_filter(spec.interpolation))
    image = _shortened(image)
    scale = max(round(side / spec.crop_fraction) / now for side, now in zip(goal, image.size, strict=True))
    wide, high = (max(side, round(now * scale)) for side, now in zip(goal, image.size, strict=True))
    image = image.resize((wide, high), resampling_filter(spec.interpolation))
    left, top = (wide - spec.width) // 2, (high - spec.height) // 2
    return image.crop((left, top, left + spec.width, top + spec.height))


def resampling_filter(name: str) -> Image.Resampling:
    """Return Pillow's filter of that name; ConfigError where there is none."""
    if name not in FILTERS:
        raise ConfigError(f"interpolation {name!r} is unknown; use {', '.join(FILTERS)}.{nearest(name, FILTERS)}")
    return FILTERS[name]


def picture_tensor(image: Image.Image) -> Tensor:
    """Return the picture as (C, H, W) float in [0, 1]."""
    pixels = torch.from_numpy(np.array(image, dtype=np.uint8))
    return (pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)).float() / 255


def _shortened(image: Image.Image) -> Image.Image:
    """The middle of a very long picture: only its center is used, and all of it may be too much to resize."""
    limit = LONGEST_TO_SHORTEST * min(image.size)
    wide, high = (min(side, limit) for side in image.size)
    left, top = (image.width - wide) // 2, (image.height - high) // 2
    return image.crop((left, top, left + wide, top + high)) if (wide, high) != image.size else image
