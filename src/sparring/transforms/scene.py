"""`Scene`: the usual context of an input: images that a variable is put on, boxes, points that are present."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..errors import InputError


@dataclass(frozen=True)
class Scene:
    """The context that the transforms of this package know; another record with the same fields serves as well.

    Args:
        images: (B, C, H, W) in [0, 1], which a flow, a colour curve or a patch is put on.
        boxes: (B, 4) as x1, y1, x2, y2 in pixels: where a patch belongs, where an object is.
        present: (B, N) bool, the points of a cloud that are there.
    """

    images: Tensor | None = None
    boxes: Tensor | None = None
    present: Tensor | None = None


def scene_images(context: Any, transform: str) -> Tensor:
    """Return the images (B, C, H, W) of the context.

    Raises: InputError where there are none.
    """
    images = getattr(context, "images", None)
    if not isinstance(images, Tensor) or images.ndim != 4:
        raise InputError(f"{transform} is put on images; pass them as context=Scene(images=x)")
    return images
