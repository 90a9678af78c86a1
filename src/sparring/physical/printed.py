"""`PrintedArtifact`: an artifact as it goes to the printer, a PNG of 8 bits with its size in millimetres.

Only this is judged as a physical artifact: what an optimiser holds has values between the 256 levels, and no size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import InputError
from ..files import written_beside
from ..hashing import file_sha256
from ..zoo.pictures import PIXEL_LIMIT, Unreadable, unreadable_if_broken

MM_PER_INCH = 25.4
SMALLEST_MM, LARGEST_MM = 1.0, 10_000.0


@dataclass(frozen=True)
class PrintedArtifact:
    """What a PNG file holds.

    Args:
        levels: (3, h, w) uint8, the colours.
        cut: (1, h, w) uint8, 255 where there is paper and 0 where it is cut away; None: all of the rectangle.
        height_mm, width_mm: of the paper.
        sha256: of the file.
        path: of the file.
    """

    levels: Tensor
    cut: Tensor | None
    height_mm: float
    width_mm: float
    sha256: str
    path: Path

    @property
    def image(self) -> Tensor:
        """The colours, (3, h, w) float32 in [0, 1]."""
        return self.levels.float() / 255

    @property
    def alpha(self) -> Tensor:
        """(1, h, w) float32 in [0, 1]: the share of each pixel that is paper."""
        return torch.ones(1, *self.levels.shape[1:]) if self.cut is None else self.cut.float() / 255

    @property
    def dpi(self) -> float:
        """Pixels per inch, down."""
        return self.levels.shape[1] / self.height_mm * MM_PER_INCH

    def __str__(self) -> str:
        height, width = self.levels.shape[1:]
        return f"{self.path.name}: {width} x {height} pixels, {self.width_mm:.1f} x {self.height_mm:.1f} mm"


def export_png(path: Path | str, image: Tensor, width_mm: float, *, alpha: Tensor | None = None) -> PrintedArtifact:
    """Write an artifact as a PNG of 8 bits and return it as it is read again; pixels are square.

    Args:
        path: ends with .png.
        image: (3, h, w) float in [0, 1].
        width_mm: of the paper; the height follows from the pixels. The file has whole pixels per metre (pHYs), and the
            sizes of what comes back are those.
        alpha: (1, h, w) float in [0, 1], or bool: where there is paper.

    Raises: InputError for what is no such image or size, RunError where the disk does not take the file.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise InputError(f"{path} is to be a PNG; call it {path.with_suffix('.png').name}")
    _check("the artifact", image, 3)
    if not isinstance(width_mm, int | float) or isinstance(width_mm, bool) or not SMALLEST_MM <= width_mm <= LARGEST_MM:
        raise InputError(f"width_mm={width_mm!r:.80}; pass millimetres from {SMALLEST_MM:g} to {LARGEST_MM:g}")
    planes = image
    if alpha is not None:
        cut = alpha.float() if isinstance(alpha, Tensor) and alpha.dtype == torch.bool else alpha
        _check("alpha", cut, 1)
        if cut.shape[1:] != image.shape[1:]:
            raise InputError(f"alpha is {tuple(cut.shape)}, and the artifact {tuple(image.shape)}")
        planes = torch.cat((image, cut.to(image)))
    levels = planes.detach().cpu().double().mul(255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    per_metre = max(1, round(image.shape[2] / width_mm * 1000))
    dpi = per_metre * MM_PER_INCH / 1000
    with written_beside(path, "choose another file") as partial:
        Image.fromarray(levels).save(partial, format="PNG", dpi=(dpi, dpi))
    return load_png(path)


def load_png(path: Path | str) -> PrintedArtifact:
    """Read an artifact that `export_png` wrote, or any PNG of 8 bits that says how large it is printed.

    Raises: InputError for another file, a PNG without pixels per metre, or one that is too large.
    """
    path = Path(path)
    try:
        with unreadable_if_broken(), Image.open(path, formats=("PNG",)) as picture:
            if picture.width * picture.height > PIXEL_LIMIT:
                raise InputError(f"{path} has {picture.width} x {picture.height} pixels; at most {PIXEL_LIMIT:,}")
            if picture.mode not in ("RGB", "RGBA"):
                raise InputError(f"{path} is a PNG of mode {picture.mode}; save it as RGB or RGBA of 8 bits")
            per_inch = picture.info.get("dpi")
            levels = torch.from_numpy(np.array(picture, dtype=np.uint8)).permute(2, 0, 1)
    except Unreadable as error:
        raise InputError(f"{path} is no artifact: {error}; write it by export_png") from error
    if per_inch is None or not all(math.isfinite(one) and one > 0 for one in per_inch):
        raise InputError(f"{path} does not say how large it is printed (pHYs); write it by export_png(width_mm=)")
    width_mm, height_mm = (side / one * MM_PER_INCH for side, one in zip(levels.shape[:0:-1], per_inch, strict=True))
    cut = levels[3:] if len(levels) == 4 else None
    return PrintedArtifact(levels[:3], cut, height_mm, width_mm, file_sha256(path), path)


def _check(what: str, image: object, channels: int) -> None:
    if not isinstance(image, Tensor) or image.ndim != 3 or len(image) != channels or image.numel() == 0:
        told = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
        raise InputError(f"{what} is ({channels}, h, w), one without a batch; got {told}")
    if not image.is_floating_point() or not bool(((image >= 0) & (image <= 1)).all()):
        raise InputError(f"{what} has values outside [0, 1], NaN, or is {image.dtype}; pass floats in [0, 1]")
