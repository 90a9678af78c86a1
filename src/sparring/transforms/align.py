"""Alignment of faces: a square around eyes and mouth, resampled to the size that an embedding net takes.

Without a template the square is face-api.js's (`FaceLandmarks.align`): the mean distance of the eyes from the mouth is
45 % of its side, and the middle of the three points lies at half its width and 43 % of its height. It is not turned.
With one it is turned, shifted and scaled so that eyes and mouth come as near to their places in it as a similarity
takes them, by least squares (Umeyama 1991). With z the landmarks as complex numbers and w their places in the template,
both from their means,

    w ~ a z,   a = sum conj(z) w / sum |z|^2

Pixels are weighed by a triangle as wide as a pixel of the result, at least as one of the image, so that shrinking does
not alias; what is turned is read between the pixels of such a square of the same resolution. Beyond the border the last
pixel is repeated. All of it is linear in the image, and its gradient exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..errors import ConfigError, InputError
from ..random import Key
from ..tasks import Classification, Task, Verification
from .scene import move_places
from .transform import Transform
from .warp import sample

Template = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
ARCFACE_TEMPLATE: Template = (  # of 112 pixels: Deng et al. 2019, arXiv:1801.07698, as InsightFace has it
    (38.2946 / 112, 51.6963 / 112),
    (73.5318 / 112, 51.5014 / 112),
    (56.1396 / 112, 92.2848 / 112),
)
DLIB_TEMPLATE: Template = ((0.335, 0.365), (0.665, 0.365), (0.5, 0.715))  # of dlib's mean face, with its usual padding
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

        template: where the eye on the left, the other and the mouth go, as x, y in shares of the side
            (`ARCFACE_TEMPLATE`, `DLIB_TEMPLATE`, those of your net). None: an upright square that is not turned.

    Landmarks belong to the image as it comes in here.

    Raises: ConfigError; InputError where there are neither landmarks nor a detector.
    """

    size: int
    detector: nn.Module | None = None
    template: Template | None = None

    def __post_init__(self) -> None:
        if isinstance(self.size, bool) or not isinstance(self.size, int) or not 1 <= self.size <= LARGEST_SIDE:
            raise ConfigError(f"AlignFace size={self.size!r:.80}; pass an int from 1 to {LARGEST_SIDE}")
        if self.detector is not None and not isinstance(self.detector, nn.Module):
            raise ConfigError(f"AlignFace detector={self.detector!r:.80} is no torch.nn.Module")
        if self.template is not None:
            object.__setattr__(self, "template", _checked(self.template))

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
        if landmarks is None and self.detector is None:
            raise InputError(f"{self.name} needs the landmarks of each face; pass context=Scene(landmarks=...)")
        found = None
        if landmarks is None:
            with torch.no_grad():
                landmarks, found = self.detector(x.detach())  # type: ignore[misc]  # it is there
            landmarks = torch.where(found[:, None, None], landmarks.to(x), torch.eye(3, 2).to(x))
        face = self._square(landmarks.to(x))
        faces = resample_turned(x, face, self.size)
        if found is not None:
            faces = torch.where(found[:, None, None, None], faces, torch.nan)
        return faces, move_places(context, lambda points: face.inside(points.to(x)) * self.size)

    def _square(self, landmarks: Tensor) -> FaceSquare:
        if self.template is None:
            left, top, side = face_squares(landmarks).unbind(1)
            return FaceSquare(torch.stack((left + side / 2, top + side / 2), dim=1), side, None)
        return fitted_square(landmarks, landmarks.new_tensor(self.template))


def _checked(template: Any) -> Template:
    """Return the template as tuples of floats; ConfigError where it is none."""
    try:
        points = tuple((float(across), float(down)) for across, down in template)
    except (TypeError, ValueError):
        points = ()
    finite = all(math.isfinite(number) for point in points for number in point)
    if len(points) != 3 or not finite or len(set(points)) == 1:
        raise ConfigError(
            f"AlignFace template={template!r:.80}; pass three points (x, y) in shares of the side: both eyes, the mouth"
        )
    return points


class FaceSquare(NamedTuple):
    """Squares in images: their middles (B, 2) as x, y, their sides (B,), and their turns.

    `turn` (B, 2) is the cosine and the sine by which what is in the image is turned clockwise, in pixels with y down;
    None: not at all.
    """

    middle: Tensor
    side: Tensor
    turn: Tensor | None

    def inside(self, points: Tensor) -> Tensor:
        """Return points (B, K, 2) of the image as shares of the square's side from its corner."""
        away = points - self.middle[:, None]
        if self.turn is not None:
            cosine, sine = self.turn[:, :1], self.turn[:, 1:]
            across, down = away.unbind(2)
            away = torch.stack((cosine * across - sine * down, sine * across + cosine * down), dim=2)
        return away / self.side[:, None, None] + 0.5


def fitted_square(landmarks: Tensor, template: Tensor) -> FaceSquare:
    """Return the squares in which landmarks (B, 3, 2) lie nearest to the template (3, 2), in shares of the side."""
    middle, aim = landmarks.mean(1), template.mean(0)
    (x, y), (u, v) = (landmarks - middle[:, None]).unbind(2), (template - aim).unbind(1)
    square = (x * x + y * y).sum(1)
    scaled = torch.stack(((x * u + y * v).sum(1), (x * v - y * u).sum(1)), dim=1) / square[:, None]  # a
    scale = torch.linalg.vector_norm(scaled, dim=1)
    turn = scaled / scale[:, None]
    across, down = (0.5 - aim).unbind(0)
    cosine, sine = turn.unbind(1)
    way = torch.stack((cosine * across + sine * down, cosine * down - sine * across), dim=1)
    return FaceSquare(middle + way / scale[:, None], 1 / scale, turn)


def resample_turned(images: Tensor, face: FaceSquare, size: int) -> Tensor:
    """Return (B, C, size, size): what lies in the squares of images (B, C, H, W)."""
    if face.turn is None:
        corner = face.middle - face.side[:, None] / 2
        return resample_squares(images, torch.cat((corner, face.side[:, None]), dim=1), size)
    wide = size + 2 * (math.ceil((math.sqrt(2) - 1) * size / 2) + 1)  # even more: not turned, pixels meet pixels
    side = face.side * (wide / size)
    corner = face.middle - side[:, None] / 2
    canvas = resample_squares(images, torch.cat((corner, side[:, None]), dim=1), wide)
    away = torch.arange(size, dtype=images.dtype, device=images.device) - (size - 1) / 2
    down, across = away[:, None], away
    cosine, sine = face.turn[:, 0, None, None], face.turn[:, 1, None, None]
    middle = (wide - 1) / 2
    return sample(canvas, cosine * down - sine * across + middle, cosine * across + sine * down + middle, "border")


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
