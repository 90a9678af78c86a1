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
from torch.nn.functional import avg_pool2d, max_pool2d

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
COARSE = 4  # pixels between the places of a coarse look


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
        """Return artifacts x (B, C, h, w) in linear light as they lie in the picture, without the scene.

        Only a window of the picture is computed, in which the artifact lies in every row of the batch.
        """
        images = scene_images(context, self.name)
        seen = Surface(self, x, parameters, self.anchor.frame(images.to(x), context, x.shape[2] / x.shape[3]))
        window = find_window(seen, images.shape[2:])
        colour, alpha = self._sampled(x, seen, window)
        return Projected(window.embedded(colour), window.embedded(alpha))

    def _sampled(self, x: Tensor, seen: Surface, window: Window) -> tuple[Tensor, Tensor]:
        """Return colour times alpha, and alpha, of the pixels of the window."""
        by = self.supersampling
        u, v, visible = seen.at(*window.samples(by, x.dtype))
        coverage, footprint = covered(u, v, x.shape[3], x.shape[2])
        coverage = torch.where(visible, coverage, 0.0)[:, None]
        if self.mask is None:
            colour, alpha = sample_pyramid(x, u, v, footprint), coverage
        else:
            paper = self.mask.to(x).expand(len(x), 1, -1, -1)
            both = sample_pyramid(torch.cat((x * paper, paper), 1), u, v, footprint)
            colour, alpha = both[:, :-1], both[:, -1:] * coverage
        return avg_pool2d(colour * coverage, by), avg_pool2d(alpha, by)

    def check(self, x: Tensor, context: Any) -> Tensor:
        """Return the images of the scenes; InputError where the artifacts do not fit them or the mask."""
        images = scene_images(context, self.name)
        check_images(x, self.name)
        if min(images.shape[2:]) < 2:
            raise InputError(f"{self.name} needs images of at least 2 x 2 pixels; got {tuple(images.shape)}")
        if images.shape[1] != x.shape[1] or len(images) != len(x):
            raise InputError(f"artifacts {tuple(x.shape)} cannot be put on images {tuple(images.shape)}")
        if self.mask is not None and self.mask.shape != x.shape[2:]:
            raise InputError(f"{self.name} has a mask {tuple(self.mask.shape)} for artifacts {tuple(x.shape[2:])}")
        return images


def deviation(parameters: PlacementParameters[Any]) -> Tensor:
    """Return (B, 3, 3): the similarity on the artifact's plane by which it deviates from its anchor."""
    across = torch.stack((parameters.roll.cos(), parameters.roll.sin()), 1) * parameters.scale[:, None]
    return similarity(across, parameters.shift)


class Surface:
    """Which place of each artifact is seen where in the picture."""

    def __init__(
        self, placement: Placement[Any], x: Tensor, parameters: PlacementParameters[Any], frame: Tensor
    ) -> None:
        self.placement, self.surface = placement, parameters.surface
        self.height, self.width = x.shape[2:]
        self.inverse = torch.linalg.inv(placement.pose(parameters.surface, frame @ deviation(parameters)))

    def at(self, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return u, v (B, h, w), in pixels of the artifact, at rows (B, h, 1) and columns (B, 1, w) of the picture.

        The third is bool: whether anything of the surface is seen there.
        """
        lines = self.inverse[:, :, :, None, None].unbind(1)
        x, y, depth = (line[:, 0] * columns + line[:, 1] * rows + line[:, 2] for line in lines)
        least = torch.finfo(depth.dtype).eps
        seen, depth, aspect = depth > least, depth.clamp_min(least), self.height / self.width
        u, v, present = self.placement.unroll(x / depth, y / depth, self.surface, aspect)
        seen = seen if present is None else seen & present
        return (u + 0.5) * self.width, (v + aspect / 2) * self.width, seen


@dataclass(frozen=True)
class Window:
    """A part of the picture of the same size in every row: first row and column (B,), its size and the picture's."""

    top: Tensor
    left: Tensor
    size: tuple[int, int]
    picture: tuple[int, int]

    def samples(self, by: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return rows (B, h * by, 1) and columns (B, 1, w * by) of the samples, in pixels of the picture."""
        down, across = ((torch.arange(side * by, dtype=dtype, device=self.top.device) + 0.5) / by for side in self.size)
        return self.top[:, None, None] + down[:, None], self.left[:, None, None] + across

    def embedded(self, values: Tensor) -> Tensor:
        """Return values (B, C, h, w) of the window in a picture (B, C, H, W) that is 0 elsewhere."""
        height, width = self.picture
        if self.size == self.picture:
            return values
        rows = self.top[:, None, None] + torch.arange(self.size[0], device=values.device)[:, None]
        index = rows * width + self.left[:, None, None] + torch.arange(self.size[1], device=values.device)
        index = index.flatten(1)[:, None].expand(-1, values.shape[1], -1)
        empty = values.new_zeros(len(values), values.shape[1], height * width)
        return empty.scatter(2, index, values.flatten(2)).view(-1, values.shape[1], height, width)


def find_window(surface: Surface, picture: torch.Size) -> Window:
    """Return the window outside of which no pixel sees anything of the artifact, from a coarse look at the picture."""
    tops, sizes = [], []
    with torch.no_grad():
        rows, columns = (
            torch.arange(0, side + COARSE, COARSE, dtype=surface.inverse.dtype, device=surface.inverse.device)
            for side in picture
        )
        u, v, seen = surface.at(rows[:, None].expand(len(surface.inverse), -1, 1), columns)
        near = seen & (covered(u, v, surface.width, surface.height, 2.0)[0] > 0)
        near = max_pool2d(near[:, None].float(), 3, 1, 1)[:, 0] > 0
        for axis, side in ((2, picture[0]), (1, picture[1])):
            found = near.any(axis).long()  # (B, steps)
            first, last = found.argmax(1), found.shape[1] - 1 - found.flip(1).argmax(1)
            first = torch.where(found.any(1), first, last)  # a row of which nothing is seen
            length = int(((last - first).amax() + 1) * COARSE) if len(found) else 0
            sizes.append(min(side, max(length, 2)))
            tops.append((first * COARSE).clamp_max(side - sizes[-1]))
    return Window(tops[0], tops[1], (sizes[0], sizes[1]), (picture[0], picture[1]))


def covered(u: Tensor, v: Tensor, width: int, height: int, wider: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return the share of each sample that the artifact covers, and the side of what it sees in pixels of the artifact.

    u, v (B, H, W) are places in pixels of the artifact; samples are `wider` than their distance.
    """
    tiny = torch.finfo(u.dtype).tiny
    (u_down, u_across), (v_down, v_across) = (torch.gradient(one, dim=(1, 2)) for one in (u, v))
    u_step = (u_down**2 + u_across**2).clamp_min(tiny).sqrt()
    v_step = (v_down**2 + v_across**2).clamp_min(tiny).sqrt()
    coverage = inside(u, width, u_step * wider) * inside(v, height, v_step * wider)
    footprint = torch.maximum(u_down**2 + v_down**2, u_across**2 + v_across**2).clamp_min(tiny).sqrt()
    return coverage, footprint


def inside(place: Tensor, length: float, step: Tensor) -> Tensor:
    """Return the share of [place - step / 2, place + step / 2] that lies in [0, length]."""
    return (place / step + 0.5).clamp(0, 1) + ((length - place) / step + 0.5).clamp(0, 1) - 1
