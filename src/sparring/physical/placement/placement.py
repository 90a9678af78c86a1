"""The base class of placements: an artifact on a surface, seen in the picture of a scene.

For each pixel of the picture the surface says which place of the artifact is seen there. Colours are sampled there
without aliasing (`pyramid.py`), weighted by the share of the pixel that the artifact covers, and put over the scene in
linear light:

    colour = coverage * sample(mask * artifact)        alpha = coverage * sample(mask)
    picture = colour + (1 - alpha) * scene

Colours that were weighted before they were sampled cannot darken or lighten at edges (Porter & Duff 1984).
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ...access.parameters import NonNegativeFloat, PositiveInt
from ...errors import ConfigError, InputError
from ...inputs import Images, Inputs
from ...random import Key
from ...transforms.scene import scene_images
from ..colour import Light, to_linear
from ..stage import PhysicalStage, around, check_images
from .anchor import Anchor, BoxAnchor, similarity
from .pyramid import sample_pyramid

S = TypeVar("S")


@dataclass(frozen=True)
class Projected:
    """An artifact as it lies in the picture: linear colour (B, C, H, W), already times alpha; alpha (B, 1, H, W)."""

    colour: Tensor
    alpha: Tensor

    def over(self, scene: Tensor) -> Tensor:
        """Return the artifact over the scene (B, C, H, W) in linear light."""
        return self.colour + (1 - self.alpha) * scene


@dataclass(frozen=True)
class PlacementParameters(Generic[S]):
    """How each artifact deviates from its anchor, and the shape and pose of its surface.

    Attributes:
        scale: (B,) factor of its size.
        shift: (B, 2) right and down, in widths of the artifact.
        roll: (B,) turned clockwise in the picture, in radians.
        surface: the parameters of the surface.
    """

    scale: Tensor
    shift: Tensor
    roll: Tensor
    surface: S


@dataclass(frozen=True, kw_only=True)
class Placement(PhysicalStage[PlacementParameters[S]]):
    """Printed artifacts (B, C, h, w) -> the images of the context, with the artifact on them.

    Args:
        anchor: where it lies: `BoxAnchor`, `LandmarkAnchor` or `QuadAnchor`.
        mask: (h, w) in [0, 1], the shape that is cut out of the artifact: 1 where there is paper. None: all of it.
        scale: largest deviation of its size, as a share of it.
        shift: largest deviation of its place to each side, in widths of the artifact.
        roll: largest turn in the picture, in degrees.
        supersampling: each pixel is the mean of so many samples to a side.
    """

    light = Light.LINEAR

    anchor: Anchor = BoxAnchor()  # noqa: RUF009
    mask: Tensor | None = None
    scale: NonNegativeFloat = 0.1
    shift: NonNegativeFloat = 0.05
    roll: NonNegativeFloat = 5.0
    supersampling: PositiveInt = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.anchor, Anchor):
            raise ConfigError(
                f"{self.name} anchor={self.anchor!r:.80}; pass BoxAnchor(), LandmarkAnchor() or QuadAnchor()"
            )
        if self.scale * self.severity >= 1:
            raise ConfigError(f"{self.name} scale={self.scale} at severity {self.severity} lets the artifact vanish")
        mask: Any = self.mask
        if mask is None:
            return
        if not isinstance(mask, Tensor) or mask.ndim != 2 or not mask.numel():
            raise ConfigError(f"{self.name} mask={mask!r:.80}; pass a tensor (h, w) of the artifact's size")
        if not bool(((mask >= 0) & (mask <= 1)).all()) or not bool((mask > 0).any()):
            raise ConfigError(f"{self.name} mask: pass values in [0, 1], some above 0: 1 where there is paper")

    @property
    def inputs(self) -> Inputs | None:
        return Images()

    @property
    def stochastic(self) -> bool:
        return self.severity > 0 and (max(self.scale, self.shift, self.roll) > 0 or self.surface_varies)

    @property
    @abstractmethod
    def surface_varies(self) -> bool:
        """Is the surface random?"""

    @abstractmethod
    def sample_surface(self, key: Key, like: Tensor) -> S:
        """Draw the parameters of the surface, one row per artifact."""

    def pose(self, surface: S, frame: Tensor) -> Tensor:
        """Return `frame` (B, 3, 3), from artifact to picture, behind the pose of the surface: by default unchanged."""
        return frame

    def unroll(self, x: Tensor, y: Tensor, surface: S, aspect: float) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return which place of the artifact is seen at x, y (B, H, W) of its frame, and where there is one at all.

        All in widths of the artifact from its middle; the third is bool or None for everywhere. By default they are the
        same: a flat surface.
        """
        return x, y, None

    def sample(self, key: Key, like: Tensor, context: Any = None) -> PlacementParameters[S]:
        return PlacementParameters(
            1 + around(key, "scale", self.scale * self.severity, like),
            around(key, "shift", self.shift * self.severity, like, (2,)),
            around(key, "roll", self.roll * self.severity, like).deg2rad(),
            self.sample_surface(key, like),
        )

    def apply(self, x: Tensor, key: Key, context: Any) -> tuple[Tensor, Any]:
        self.check(x, context)
        return super().apply(x, key, context)

    def apply_parameters(self, x: Tensor, parameters: PlacementParameters[S], context: Any = None) -> Tensor:
        scene = self.check(x, context)
        return self.project(x, parameters, context).over(to_linear(scene.to(x)))

    def project(self, x: Tensor, parameters: PlacementParameters[S], context: Any) -> Projected:
        """Return artifacts x (B, C, h, w) in linear light as they lie in the picture, without the scene."""
        images, (height, width) = scene_images(context, self.name), x.shape[2:]
        aspect = height / width
        frame = self.anchor.frame(images.to(x), context, aspect) @ deviation(parameters)
        across, down, seen = pull_back(self.pose(parameters.surface, frame), images.shape[2:], self.supersampling)
        u, v, present = self.unroll(across, down, parameters.surface, aspect)
        u, v = (u + 0.5) * width, (v + aspect / 2) * width
        coverage, footprint = spread(u, v, width, height)
        coverage = torch.where(seen if present is None else seen & present, coverage, 0.0)[:, None]
        if self.mask is None:
            colour, alpha = sample_pyramid(x, u, v, footprint), None
        else:
            paper = self.mask.to(x).expand(len(x), 1, -1, -1)
            both = sample_pyramid(torch.cat((x * paper, paper), 1), u, v, footprint)
            colour, alpha = both[:, :-1], both[:, -1:]
        alpha = coverage if alpha is None else alpha * coverage
        by = self.supersampling
        return Projected(avg_pool2d(colour * coverage, by), avg_pool2d(alpha, by))

    def check(self, x: Tensor, context: Any) -> Tensor:
        """Return the images of the scenes; InputError where the artifacts do not fit them or the mask."""
        images = scene_images(context, self.name)
        check_images(x, self.name)
        if images.shape[1] != x.shape[1] or len(images) != len(x):
            raise InputError(f"artifacts {tuple(x.shape)} cannot be put on images {tuple(images.shape)}")
        if self.mask is not None and self.mask.shape != x.shape[2:]:
            raise InputError(f"{self.name} has a mask {tuple(self.mask.shape)} for artifacts {tuple(x.shape[2:])}")
        return images


def deviation(parameters: PlacementParameters[Any]) -> Tensor:
    """Return (B, 3, 3): the similarity on the artifact's plane by which it deviates from its anchor."""
    across = torch.stack((parameters.roll.cos(), parameters.roll.sin()), 1) * parameters.scale[:, None]
    return similarity(across, parameters.shift)


def pull_back(frame: Tensor, size: torch.Size, by: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return x, y (B, H * by, W * by) on the artifact for each sample of a picture, and whether the camera sees it."""
    height, width = size
    inverse = torch.linalg.inv(frame)[:, :, :, None, None]
    rows = (torch.arange(height * by, dtype=frame.dtype, device=frame.device) + 0.5)[:, None] / by
    columns = (torch.arange(width * by, dtype=frame.dtype, device=frame.device) + 0.5) / by
    x, y, depth = (line[:, 0] * columns + line[:, 1] * rows + line[:, 2] for line in inverse.unbind(1))
    least = torch.finfo(frame.dtype).eps
    depth_used = depth.clamp_min(least)
    return x / depth_used, y / depth_used, depth > least


def spread(u: Tensor, v: Tensor, width: int, height: int) -> tuple[Tensor, Tensor]:
    """Return the share of each sample that the artifact covers, and the side of what it sees in pixels of the artifact.

    u, v (B, H, W) are places in pixels of the artifact.
    """
    tiny = torch.finfo(u.dtype).tiny
    (u_down, u_across), (v_down, v_across) = (torch.gradient(one, dim=(1, 2)) for one in (u, v))
    u_step = (u_down**2 + u_across**2).clamp_min(tiny).sqrt()
    v_step = (v_down**2 + v_across**2).clamp_min(tiny).sqrt()
    coverage = inside(u, width, u_step) * inside(v, height, v_step)
    footprint = torch.maximum(u_down**2 + v_down**2, u_across**2 + v_across**2).clamp_min(tiny).sqrt()
    return coverage, footprint


def inside(place: Tensor, length: float, step: Tensor) -> Tensor:
    """Return the share of [place - step / 2, place + step / 2] that lies in [0, length]."""
    return (place / step + 0.5).clamp(0, 1) + ((length - place) / step + 0.5).clamp(0, 1) - 1
