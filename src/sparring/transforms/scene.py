"""`Scene`: the usual context of an input: images that a variable is put on, boxes, points that are present."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..inputs import Images


@dataclass(frozen=True)
class Scene:
    """The context that the transforms of this package know; another record with the same fields serves as well.

    Args:
        images: (B, C, H, W) in [0, 1], which a flow, a colour curve or a patch is put on.
        boxes: (B, 4) as x1, y1, x2, y2 in pixels: where a patch belongs, where an object is.
        present: (B, N) bool, the points of a cloud that are there.
        landmarks: (B, 3, 2) as x, y in pixels, of a face: the eye on the left of the picture, the other, the middle of
            the mouth.
        quads: (B, 4, 2) as x, y in pixels, corners of a plane in the picture: upper left, upper right, lower right,
            lower left.
    """

    images: Tensor | None = None
    boxes: Tensor | None = None
    present: Tensor | None = None
    landmarks: Tensor | None = None
    quads: Tensor | None = None

    def check(self) -> None:
        """Raise InputError where the images are none in [0, 1], a box is not (x1, y1, x2, y2), a flag not bool,
        landmarks are none of a face, or a quadrilateral is not convex.
        """
        if self.images is not None:
            with told_of("context images"):
                Images().check(self.images)
        boxes, present = self.boxes, self.present
        if boxes is not None:
            if not isinstance(boxes, Tensor) or boxes.ndim != 2 or boxes.shape[1] != 4 or boxes.dtype == torch.bool:
                raise InputError(f"context boxes are (N, 4) as x1, y1, x2, y2 in pixels; got {_told(boxes)}")
            if not bool(boxes.isfinite().all()):
                row = int((~boxes.isfinite().all(1)).nonzero()[0])
                raise InputError(f"context boxes[{row}] holds NaN or infinity; leave that input out")
        if present is not None and not (isinstance(present, Tensor) and present.dtype == torch.bool):
            raise InputError(f"context present is bool (N, points); got {_told(present)}")
        if self.landmarks is not None:
            _check_landmarks(self.landmarks)
        if self.quads is not None:
            _check_quads(self.quads)


def _check_landmarks(landmarks: object) -> None:
    points = landmarks if isinstance(landmarks, Tensor) and landmarks.is_floating_point() else None
    if points is None or points.ndim != 3 or points.shape[1:] != (3, 2):
        raise InputError(
            f"context landmarks are real numbers (N, 3, 2): both eyes and the mouth; got {_told(landmarks)}"
        )
    apart = (points[:, 2:] - points[:, :2]).square().sum((1, 2))
    wrong = ~((apart > 0) & apart.isfinite())
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        raise InputError(f"context landmarks[{row}] are {points[row].tolist()}, which is no face; leave that input out")


def _check_quads(quads: object) -> None:
    corners = quads if isinstance(quads, Tensor) and quads.is_floating_point() else None
    if corners is None or corners.ndim != 3 or corners.shape[1:] != (4, 2):
        raise InputError(f"context quads are real numbers (N, 4, 2), four corners as x, y; got {_told(quads)}")
    sides = corners.roll(-1, 1) - corners
    turns = sides[:, :, 0] * sides.roll(-1, 1)[:, :, 1] - sides[:, :, 1] * sides.roll(-1, 1)[:, :, 0]
    wrong = ~((turns > 0).all(1) & corners.isfinite().all((1, 2)))
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        raise InputError(
            f"context quads[{row}] are {corners[row].tolist()}; pass the corners of a convex quadrilateral, clockwise "
            "from the upper left"
        )


@contextmanager
def told_of(what: str) -> Iterator[None]:
    """Say in an InputError of what it is."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{what}: {error}") from error


def _told(value: object) -> str:
    return f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


def moved(context: Any, scale: Tensor | tuple[float, float], offset: Tensor | tuple[float, float]) -> Any:
    """Return the context with its boxes, landmarks and quads in a moved picture: at scale * place + offset.

    `scale` (B, 1 or 2) and `offset` (B, 2) are right and down, in pixels, or two numbers for all rows. Other fields
    stay as they are.
    """
    changed = {}
    for name in ("boxes", "landmarks", "quads"):
        places = getattr(context, name, None)
        if places is not None:
            factor, by = (
                one[:, None] if isinstance(one, Tensor) else torch.tensor(one).to(places.device)
                for one in (scale, offset)
            )
            points = places.reshape(len(places), -1, 2) * factor + by
            changed[name] = points.view_as(places).to(places)
    return replace(context, **changed) if changed else context


def scene_images(context: Any, transform: str) -> Tensor:
    """Return the images (B, C, H, W) of the context.

    Raises: InputError where there are none.
    """
    images = getattr(context, "images", None)
    if not isinstance(images, Tensor) or images.ndim != 4:
        raise InputError(f"{transform} is put on images; pass them as context=Scene(images=x)")
    if images.dtype not in (torch.float32, torch.float64):
        raise InputError(f"{transform} is put on float images in [0, 1], and those of the context are {images.dtype}")
    return images
