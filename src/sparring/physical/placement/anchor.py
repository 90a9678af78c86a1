"""Where an artifact lies: a frame in the picture, whose unit is the width of the artifact."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from ...access.parameters import Bounds, PositiveFloat, check_parameters
from ...errors import InputError
from ..stage import check_choice, check_length

RealNumber = Annotated[float, Bounds()]
REFERENCES = ("width", "height", "diagonal")


class Anchor(ABC):
    """Base class of anchors."""

    @abstractmethod
    def frame(self, images: Tensor, context: Any, aspect: float) -> Tensor:
        """Return (B, 3, 3): homographies from coordinates on the artifact to pixels of images (B, C, H, W).

        Coordinates on the artifact are x to the right and y down from its middle, in units of its width; `aspect` is
        its height in that unit. In pixels (0, 0) is the corner of the first one.
        """


@dataclass(frozen=True)
class BoxAnchor(Anchor):
    """The artifact upright on the box of the context, or on the whole image where there is none.

    Args:
        size: the width of the artifact as a share of the box's width, height or diagonal.
        relative_to: "width", "height" or "diagonal" (Thys et al. 2019: 0.2 of the diagonal).
        offset: of the artifact's middle from the box's, right and down, as shares of the box's width and height.
    """

    size: PositiveFloat = 0.4
    relative_to: str = "width"
    offset: tuple[RealNumber, RealNumber] = (0.0, 0.0)

    def __post_init__(self) -> None:
        check_parameters(self)
        check_length(self, "offset", self.offset, 2)
        check_choice(self, "relative_to", self.relative_to, REFERENCES)

    def frame(self, images: Tensor, context: Any, aspect: float) -> Tensor:
        boxes = getattr(context, "boxes", None)
        if boxes is None:
            height, width = images.shape[2:]
            boxes = images.new_tensor([0.0, 0.0, width, height]).expand(len(images), 4)
        boxes = boxes.to(images)
        sides = boxes[:, 2:] - boxes[:, :2]
        extended = (sides > 0).all(1) & boxes.isfinite().all(1)
        _require(extended, "boxes", "x1, y1, x2, y2 with x1 < x2 and y1 < y2")
        lengths = {"width": sides[:, 0], "height": sides[:, 1], "diagonal": torch.linalg.vector_norm(sides, dim=1)}
        middle = (boxes[:, :2] + boxes[:, 2:]) / 2 + sides * images.new_tensor(self.offset)
        across = torch.stack((lengths[self.relative_to] * self.size, torch.zeros_like(middle[:, 0])), 1)
        return similarity(across, middle)


@dataclass(frozen=True)
class LandmarkAnchor(Anchor):
    """The artifact on a face, turned with its eyes; the unit is their distance (`Scene.landmarks`).

    Args:
        width: of the artifact, in distances of the eyes from each other: 2.2 for glasses.
        offset: of its middle from that of the eyes, right and down (away from the forehead), in the same unit: (0,
            -0.9) is the forehead.
    """

    width: PositiveFloat = 1.4
    offset: tuple[RealNumber, RealNumber] = (0.0, -0.9)

    def __post_init__(self) -> None:
        check_parameters(self)
        check_length(self, "offset", self.offset, 2)

    def frame(self, images: Tensor, context: Any, aspect: float) -> Tensor:
        landmarks = getattr(context, "landmarks", None)
        if landmarks is None:
            raise InputError("LandmarkAnchor needs the landmarks of each face; pass context=Scene(images, landmarks=)")
        eyes = landmarks[:, :2].to(images)
        across = eyes[:, 1] - eyes[:, 0]
        apart = (across != 0).any(1) & eyes.isfinite().all(2).all(1)
        _require(apart, "landmarks", "two eyes at two places")
        down = torch.stack((-across[:, 1], across[:, 0]), 1)
        middle = eyes.mean(1) + across * self.offset[0] + down * self.offset[1]
        return similarity(across * self.width, middle)


@dataclass(frozen=True)
class QuadAnchor(Anchor):
    """The artifact spread over a quadrilateral of the picture (`Scene.quads`), as over a sign seen from the side."""

    def frame(self, images: Tensor, context: Any, aspect: float) -> Tensor:
        quads = getattr(context, "quads", None)
        if quads is None:
            raise InputError("QuadAnchor needs four corners for each image; pass context=Scene(images, quads=)")
        half = aspect / 2
        corners = images.new_tensor([[-0.5, -half], [0.5, -half], [0.5, half], [-0.5, half]])
        return homography(corners.expand(len(images), 4, 2), quads.to(images))


def _require(holds: Tensor, name: str, wanted: str) -> None:
    """Raise InputError for the first row (B,) of the context in which an artifact cannot lie."""
    if not bool(holds.all()):
        row = int((~holds).nonzero()[0])
        raise InputError(f"context {name}[{row}]: an artifact cannot lie there; pass {wanted}, all finite")


def similarity(across: Tensor, middle: Tensor) -> Tensor:
    """Return (B, 3, 3): the map that takes (1, 0) to `across` (B, 2), turned and scaled, and the origin to `middle`."""
    (a, b), (x, y) = across.unbind(1), middle.unbind(1)
    zero, one = torch.zeros_like(a), torch.ones_like(a)
    return torch.stack((a, -b, x, b, a, y, zero, zero, one), 1).view(-1, 3, 3)


def homography(source: Tensor, target: Tensor) -> Tensor:
    """Return (B, 3, 3), last entry 1: the homographies from four points (B, 4, 2) to four others, x and y."""
    (x, y), (u, v) = source.unbind(2), target.unbind(2)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    first = torch.stack((x, y, one, zero, zero, zero, -u * x, -u * y), 2)
    second = torch.stack((zero, zero, zero, x, y, one, -v * x, -v * y), 2)
    solved, failed = torch.linalg.solve_ex(torch.cat((first, second), 1), torch.cat((u, v), 1))
    proper = (failed == 0) & solved.isfinite().all(1)
    _require(proper, "quads", "corners of a convex quadrilateral, not on a line")
    return torch.cat((solved, torch.ones_like(solved[:, :1])), 1).view(-1, 3, 3)
