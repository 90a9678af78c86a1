"""Reading of picture files as tensors of the size and channels that a model takes.

JPEG, PNG, WebP and BMP; gray, palette, CMYK, 16-bit and transparent ones (laid on white), turned as EXIF
says. Which value is white in pictures of more than 8 bits is a matter of the whole data set: see `WhiteLevel`.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from ..errors import ConfigError, InputError, nearest
from .arrays import BLACKENING
from .loaded import InputSpec

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".bmp", ".dib"})
SIXTEEN_BITS, TWELVE_BITS = 65535, 4095
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


@dataclass
class WhiteLevel:
    """The value of white in pictures of more than 8 bits, one for all pictures of a data set.

    Args:
        scale: what the user says; None: 65535 in 16-bit pictures, while wider integers and floats are refused.
        maxima: gives the largest value of each 16-bit picture of the data set. It is asked once, at the first picture
            that stays within 12 bits: where all of them do, they were most likely saved by a 12-bit camera, would come
            in nearly black, and are refused. One picture above that shows that the others are dark.
    """

    scale: float | None = None
    maxima: Callable[[], Iterable[int]] = tuple
    proven: bool = field(default=False, compare=False)  # a picture is known to have more than 12 bits

    def of_sixteen_bits(self, highest: int) -> float:
        """Return the white of a 16-bit picture whose largest value is `highest`; InputError where it is unclear."""
        if self.scale is not None:
            return self.scale
        self.proven = self.proven or highest > TWELVE_BITS
        if highest and not self.proven:
            self.proven = any(other > TWELVE_BITS for other in self.maxima())
        if highest and not self.proven:
            raise InputError(
                f"a 16-bit picture with values up to {highest}, and none of the data set goes above {TWELVE_BITS}: "
                "those of 12 bits would come in nearly black; say which value is white, --scale 4095, or --scale 65535 "
                "where they are that dark (in Python scale=)"
            )
        return SIXTEEN_BITS


def read_picture(
    path: Path, spec: InputSpec | None, white: WhiteLevel | None = None, formats: tuple[str, ...] = FORMATS
) -> Tensor:
    """Read a picture in one of Pillow's `formats` as (C, H, W) float in [0, 1], fitted to `spec`, or RGB as it is.

    Raises: Unreadable where it cannot be, InputError where the whole data set must be read in another way.
    """
    with unreadable_if_broken(), Image.open(path, formats=formats) as image:
        return picture_tensor(fit_picture(upright_8_bit(image, white), spec))


def sixteen_bit_maximum(path: Path) -> int | None:
    """Return the largest value of a 16-bit picture; None for others, and where it cannot be read."""
    try:
        with unreadable_if_broken(), Image.open(path, formats=FORMATS) as image:
            return maximum(image)
    except Unreadable:
        return None


@contextmanager
def unreadable_if_broken() -> Iterator[None]:
    """Raise Unreadable, with the reason, where Pillow cannot open, decode or convert a picture."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Image.DecompressionBombError as error:
        raise Unreadable(f"a decompression bomb: over the limit of {PIXEL_LIMIT:,} pixels") from error
    except UnidentifiedImageError as error:
        raise Unreadable("not a JPEG, PNG, WebP or BMP picture") from error
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, struct.error, MemoryError) as error:
        raise Unreadable(f"broken or truncated: {error}") from error


def upright_8_bit(image: Image.Image, white: WhiteLevel | None = None) -> Image.Image:
    """Return the picture upright, with 8 bits per channel, in mode L or RGB.

    Raises: Unreadable for what is too large or has several frames, InputError for values whose white is unknown.
    """
    white = white or WhiteLevel()
    if image.width * image.height > PIXEL_LIMIT:
        raise Unreadable(f"{image.width} x {image.height} pixels, over the limit of {PIXEL_LIMIT:,}")
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # of a camera's JPEG with previews the first is the picture
        raise Unreadable(f"{frames} frames or pages; save the one that counts by itself, as PNG")
    sixteen, deep_colors = is_sixteen_bit(image), is_sixteen_bit_color(image)
    turned: Image.Image = ImageOps.exif_transpose(image)
    if turned.mode.startswith("I") or turned.mode == "F":
        return deep_grey(turned, white, sixteen=sixteen)
    plain = color_of(turned)
    if deep_colors and white.of_sixteen_bits(257 * max(high for _, high in _extrema(turned))) != SIXTEEN_BITS:
        raise InputError(
            "a 16-bit picture in color, of which only the upper 8 bits are read; convert it to 8 bits and leave out "
            "the scale"
        )
    return plain


def color_of(image: Image.Image) -> Image.Image:
    """Return a picture of 8 bits as L or RGB, what is transparent laid on white."""
    if image.has_transparency_data:
        straight = {"La": "LA", "RGBa": "RGBA"}.get(image.mode)
        clear = (image if straight is None else image.convert(straight)).convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB")
    return image.convert("L") if image.mode in ("1", "L") else image.convert("RGB")


def deep_grey(image: Image.Image, white: WhiteLevel, *, sixteen: bool) -> Image.Image:
    """Return a grey picture of 16 or 32 bits, or of floats, in 8 bits; InputError where its white is unknown."""
    values = np.asarray(image, dtype=np.float64)
    low, high = float(values.min()), float(values.max())
    kind = "16-bit integers" if sixteen else "floats" if image.mode == "F" else "32-bit integers"
    if not np.isfinite(values).all():
        raise InputError("a picture of floats with NaN or infinity; take it out")
    if not sixteen and white.scale is None:
        raise InputError(
            f"a picture of {kind} (mode {image.mode}) from {low:g} to {high:g}, and which value is white is not known; "
            "say it, as --scale 1 or --scale 255 (in Python scale=), or save it with 8 bits"
        )
    top = white.of_sixteen_bits(int(high)) if sixteen else float(white.scale or 1)
    if low < 0 or high > top:
        raise InputError(f"a picture of {kind} from {low:g} to {high:g}, outside 0 to {top:g}, the scale")
    if image.mode == "F" and top >= BLACKENING and 0 < high <= 1:
        raise InputError(
            f"a picture of floats up to {high:g}, which lie in [0, 1] already, and would be nearly black over a white "
            f"of {top:g}; say --scale 1 (in Python scale=1)"
        )
    return Image.fromarray((values / top * 255).round().astype(np.uint8))


def is_sixteen_bit(image: Image.Image) -> bool:
    """Tell whether it is grey with 16 bits; older versions of Pillow open such PNG files in mode I."""
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG")


def is_sixteen_bit_color(image: Image.Image) -> bool:
    """Tell whether a file not yet decoded has 16 bits in each of several channels, which Pillow halves to 8."""
    tiles = getattr(image, "tile", None) or ()
    return not is_sixteen_bit(image) and any("16" in str(tile[3]) for tile in tiles if len(tile) > 3)


def maximum(image: Image.Image) -> int | None:
    """Return the largest value of a 16-bit picture, in 16 bits; None for others."""
    if image.width * image.height > PIXEL_LIMIT:
        return None
    if is_sixteen_bit(image):
        return int(np.asarray(image).max())
    return 257 * max(high for _, high in _extrema(image)) if is_sixteen_bit_color(image) else None


def _extrema(image: Image.Image) -> list[tuple[int, int]]:
    """(lowest, highest) of each channel but alpha."""
    channels = image.split()
    return [channel.getextrema() for channel in channels[: len(channels) - ("A" in image.mode)]]  # type: ignore[misc]


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
