"""Alignment of faces: a square around eyes and mouth, resampled to the size that an embedding net takes.

The square is face-api.js's (`FaceLandmarks.align`): the mean distance of the eyes from the mouth is 45 % of its side,
and the middle of the three points lies at half its width and 43 % of its height. It is not turned. Pixels are weighed
by a triangle as wide as a pixel of the result, at least as one of the image, so that shrinking does not alias; beyond
the border the last pixel is repeated. All of it is linear in the image, and its gradient exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ConfigError, InputError
from ..random import Key
from ..tasks import Classification, Task, Verification
from .scene import moved
from .transform import Transform

FACE_SHARE, ACROSS, DOWN = 0.45, 0.5, 0.43
LARGEST_SIDE = 1 << 12


@dataclass(frozen=True)
class AlignFace(Transform):
    """Images (B, C, H, W) -> faces (B, C, size, size), cut out around the landmarks of the context, which move along.

    Args:
        size: the side of the result in pixels.
        detector: where the context has no landmarks they are found by this module, anew for each image that is asked
            about: images (B, 3, H, W) -> landmarks (B, 3, 2) as `Scene` has them, and (B,) bool, whether there is a
            face. No gradient goes through it. A face that is not found is answered with NaN, which is no answer.

    Landmarks belong to the image as it comes in here. A transform before this one that moves pixels and not the
    context (a `Stage`, a flow) leaves them behind: leave them out then, and give a detector.

    Raises: ConfigError; InputError where there are neither landmarks nor a detector.
    """

    size: int
    detector: nn.Module | None = None

    def __post_init__(self) -> None:
        if isinstance(self.size, bool) or not isinstance(self.size, int) or not 1 <= self.size <= LARGEST_SIDE:
            raise ConfigError(f"AlignFace size={self.size!r:.80}; pass an int from 1 to {LARGEST_SIDE}")
        if self.detector is not None and not isinstance(self.detector, nn.Module):
            raise ConfigError(f"AlignFace detector={self.detector!r:.80} is no torch.nn.Module")

    @property
    def may_decline(self) -> bool:
        return self.detector is not None

    @property
    def tasks(self) -> tuple[type[Task], ...] | None:
        return Classification, Verification

    def apply(self, x: Tensor, key: Key, context: Any) -> tuple[Tensor, Any]:
        if x.ndim != 4:
            raise InputError(f"{self.name} cuts faces out of images (N, C, H, W); got {tuple(x.shape)}")
        landmarks = getattr(context, "landmarks", None)
        if landmarks is not None:
            squares = face_squares(landmarks.to(x))
            return resample_squares(x, squares, self.size), _moved(context, squares, self.size)
        if self.detector is None:
            raise InputError(f"{self.name} needs the landmarks of each face; pass context=Scene(landmarks=...)")
        with torch.no_grad():
            landmarks, found = self.detector(x.detach())
        squares = face_squares(torch.where(found[:, None, None], landmarks.to(x), torch.eye(3, 2).to(x)))
        faces = resample_squares(x, squares, self.size)
        return torch.where(found[:, None, None, None], faces, torch.nan), _moved(context, squares, self.size)


def _moved(context: Any, squares: Tensor, size: int) -> Any:
    """Return the context with what has a place in pixels of the faces."""
    scale = size / squares[:, 2:]
    return moved(context, scale, -squares[:, :2] * scale)


def face_squares(landmarks: Tensor) -> Tensor:
    """Return left, top and side (B, 3) in pixels of the squares around landmarks (B, 3, 2): both eyes, the mouth."""
    eyes, mouth = landmarks[:, :2], landmarks[:, 2:]
    side = torch.linalg.vector_norm(eyes - mouth, dim=2).mean(1) / FACE_SHARE
    middle = landmarks.mean(1)
    return torch.stack((middle[:, 0] - ACROSS * side, middle[:, 1] - DOWN * side, side), dim=1)


def resample_squares(images: Tensor, squares: Tensor, size: int) -> Tensor:
    """Return (B, C, size, size): what lies in the squares (B, 3), left, top and side in pixels, of images (B, C, H, W).

    (0, 0) is the corner of the first pixel, 0.5 its middle.
    """
    left, top, side = squares.unbind(1)
    down = _weights(top, side, size, images.shape[2])
    across = _weights(left, side, size, images.shape[3])
    return down[:, None] @ images @ across.mT[:, None]


def _weights(start: Tensor, side: Tensor, size: int, pixels: int) -> Tensor:
    """Return (B, size, pixels): what each pixel of a row gives to each of the result; a row sums to 1."""
    step = (side / size)[:, None, None]
    steps = torch.arange(size, dtype=start.dtype, device=start.device)[:, None] + 0.5
    places = (start[:, None, None] + steps * step - 0.5).clamp(0, pixels - 1)
    distance = (torch.arange(pixels, dtype=start.dtype, device=start.device) - places).abs()
    weights = (1 - distance / step.clamp_min(1)).clamp_min(0)
    return weights / weights.sum(2, keepdim=True)
