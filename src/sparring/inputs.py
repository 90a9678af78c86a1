"""The kinds of inputs that are attacked: the valid range of their values, and the sites that they consist of.

A site is a pixel, a point of a cloud, or a component of a vector. Attacks that choose sites, neighbourhoods or random
starting points use these classes, so that they do not depend on the number of axes of their inputs.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from .errors import ConfigError, InputError
from .random import Key
from .shapes import AnyBatch, BoolSites, BroadcastFloat, Channels, FloatBatch, IntPerRow

Bounds = float | tuple[float, ...]
COARSE = 4  # cells per side of coarse noise
LARGEST_NORMALISED = 16.0  # of pixels less a mean, over a standard deviation
WIDER = 1.1  # by which each random start of an unbounded input lies farther out than the one before


def _check_dense(x: Tensor) -> None:
    if x.is_meta or x.layout != torch.strided:
        kind = "on the meta device, where tensors have no values" if x.is_meta else f"{x.layout}"
        raise InputError(f"the inputs are {kind}; pass a dense tensor with its values, as x.to_dense()")


class Inputs(ABC):
    """A kind of inputs (B, ...). `low` and `high` bound every value, and may be infinite."""

    axes: ClassVar[int | None] = None  # of one batch, the batch's own included; None: any number
    channel_axis: ClassVar[int | None] = None  # along which the components of a site lie; None: each is a site
    plural: ClassVar[str] = "inputs"

    if TYPE_CHECKING:  # fields or properties of every kind

        @property
        def low(self) -> Bounds:
            """The lowest value."""

        @property
        def high(self) -> Bounds:
            """The highest value."""

        @property
        def scale(self) -> float:
            """The size of a large value: what absolute step sizes are relative to. 1 for images in [0, 1]."""

    def check(self, x: object) -> None:
        """Raise InputError where `x` is no float batch (B, ...) of such inputs within the range."""
        if not isinstance(x, Tensor) or not x.is_floating_point():
            got = f"{x.dtype} of shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
            raise InputError(f"{self.plural} must be a float tensor; got {got}")
        _check_dense(x)
        if x.dtype not in (torch.float32, torch.float64):
            raise InputError(f"{self.plural} are {x.dtype}, too coarse for small perturbations; pass x.float()")
        if x.ndim < 2 or (self.axes is not None and x.ndim != self.axes):
            wanted = f"{self.axes} axes" if self.axes is not None else "a batch axis and at least one more"
            raise InputError(f"{self.plural} have {wanted}; got a tensor of shape {tuple(x.shape)}")
        if x.numel() == 0:
            raise InputError(f"there is nothing to attack: x has shape {tuple(x.shape)}")
        if not bool(x.isfinite().all()):
            row = int((~x.flatten(1).isfinite().all(1)).nonzero()[0])
            raise InputError(f"row {row} holds NaN or infinity; clean the data first")
        low, high = self.range_like(x)
        if not bool(((x >= low) & (x <= high)).all()):
            raise InputError(
                f"values reach from {float(x.amin()):g} to {float(x.amax()):g}, and {self.plural} lie in "
                f"[{_told(self.low)}, {_told(self.high)}]; scale the data, or pass {type(self).__name__}(low=, high=)"
            )

    def range_like(self, x: FloatBatch) -> tuple[BroadcastFloat | float, BroadcastFloat | float]:
        """Return the lowest and highest value: two numbers, or two tensors that broadcast over `x`."""
        if not isinstance(self.low, tuple) and not isinstance(self.high, tuple):
            return float(self.low), float(self.high)
        shape = [1] * x.ndim
        shape[-1 if self.channel_axis is None else self.channel_axis] = -1
        low, high = (torch.as_tensor(b, dtype=x.dtype, device=x.device).reshape(shape) for b in (self.low, self.high))
        return low, high

    def per_site(self, values: AnyBatch) -> Channels:
        """Return values (B, ...) of the shape of an input as (B, sites, channels), a view where that is possible."""
        if self.channel_axis is None:
            return values.flatten(1)[:, :, None]
        return values.movedim(self.channel_axis, -1).flatten(1, -2)

    def from_sites(self, values: Channels, like: AnyBatch) -> AnyBatch:
        """Return (B, sites, channels) values in the shape (B, ...) of `like`; a single channel is repeated for all.

        The inverse of `per_site`.
        """
        if self.channel_axis is None:
            return values.reshape(like.shape)
        shape = list(like.shape)
        del shape[self.channel_axis]
        return values.reshape(*shape, -1).movedim(-1, self.channel_axis).expand_as(like)

    @abstractmethod
    def window(self, x: FloatBatch, centre: IntPerRow, share: float, present: BoolSites | None = None) -> BoolSites:
        """Return (B, sites) bool: the neighbourhood of the site `centre` (B,) int64 with this `share` of all sites.

        `present` (B, sites) marks the sites that exist, where it is not all of them; `centre` is one of those.
        """

    def random(self, key: Key, x: FloatBatch, step: int = 0, stream: str = "start") -> FloatBatch:
        """Draw a random valid input (B, ...) for each of `x`; another for each `step`.

        Uniform in the range. A component whose range is infinite is x plus noise of `scale`, wider at each step.
        """
        low, high = self.range_like(x)
        if isinstance(low, float) and isinstance(high, float) and math.isfinite(high - low):
            drawn = key.uniform(stream, x.shape[1:], step, x.dtype)
            return drawn if (low, high) == (0, 1) else drawn.mul_(high - low).add_(low)
        low, high = (torch.as_tensor(b, dtype=x.dtype, device=x.device) for b in (low, high))
        near = x + key.normal(stream, x.shape[1:], step, x.dtype) * (self.scale * WIDER**step)
        width = (high - low).nan_to_num(posinf=0)
        inside = low.nan_to_num(neginf=0) + width * key.uniform(stream, x.shape[1:], step, x.dtype)
        return torch.where((high - low).isinf(), near.clamp(low, high), inside)

    def _check_range(self) -> None:
        """Raise ConfigError where low and high are no range: low < high in every component."""
        lows, highs = (torch.as_tensor(b, dtype=torch.float64, device="cpu").reshape(-1) for b in (self.low, self.high))
        if (1 not in (len(lows), len(highs)) and len(lows) != len(highs)) or not bool((lows < highs).all()):
            raise ConfigError(f"{type(self).__name__} low={self.low}, high={self.high}; pass numbers with low < high")


@dataclass(frozen=True)
class Images(Inputs):
    """Images (B, C, H, W) in [low, high]; a site is a pixel, a window is a square.

    Raises:
        ConfigError: low is not below high.
    """

    low: float = 0.0
    high: float = 1.0

    axes: ClassVar[int | None] = 4
    channel_axis: ClassVar[int | None] = 1
    plural: ClassVar[str] = "images"

    def __post_init__(self) -> None:
        self._check_range()

    @property
    def scale(self) -> float:
        """The width of the range."""
        return self.high - self.low

    def check(self, x: object) -> None:
        """Raise InputError where `x` is no float batch (B, C, H, W) within the range; the message names a cure."""
        place = f"[{_told(self.low)}, {_told(self.high)}]"
        if not isinstance(x, Tensor) or x.ndim != 4 or not x.is_floating_point():
            got = f"{x.dtype} of shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
            cure = "; pass images.float() / 255" if isinstance(x, Tensor) and x.dtype == torch.uint8 else ""
            raise InputError(f"images must be a float tensor (N, C, H, W) with values in {place}; got {got}{cure}")
        _check_dense(x)
        if x.dtype not in (torch.float32, torch.float64):
            raise InputError(f"images are {x.dtype}, too coarse for small perturbations; pass images.float()")
        if len(x) == 0:
            raise InputError("there are no images: x has 0 rows")
        low, high = (float(end) for end in x.aminmax()) if x.numel() else (self.low, self.high)
        if not (math.isfinite(low) and math.isfinite(high)):
            row = int((~x.flatten(1).isfinite().all(1)).nonzero()[0])
            raise InputError(f"image {row} holds NaN or infinity; clean the data first")
        if low < self.low or high > self.high:
            unit = self.high == 1 and self.low == 0
            whole = unit and bool((x == x.round()).all())
            cure = range_cure(low, high, whole=whole) if unit else "pass Images(low=, high=) that hold them"
            raise InputError(f"pixels reach from {low:g} to {high:g}, and images lie in {place}; {cure}")

    def window(self, x: FloatBatch, centre: IntPerRow, share: float, present: BoolSites | None = None) -> BoolSites:
        """Return a square around the centre, moved inwards where it would leave the image: (B, H * W) bool."""
        height, width = x.shape[2:]
        side = min(max(round(math.sqrt(share * height * width)), 1), height, width)
        top = (centre // width - side // 2).clamp(0, height - side)[:, None]
        left = (centre % width - side // 2).clamp(0, width - side)[:, None]
        down, right = torch.arange(height, device=x.device), torch.arange(width, device=x.device)
        rows, columns = (down >= top) & (down < top + side), (right >= left) & (right < left + side)
        inside = (rows[:, :, None] & columns[:, None]).flatten(1)
        return inside if present is None else inside & present

    def random(self, key: Key, x: FloatBatch, step: int = 0, stream: str = "start") -> FloatBatch:
        """Draw uniform noise, at every second step in coarse cells: many nets see one class in all fine noise."""
        if step % 2 == 0:
            return super().random(key, x, step, stream)
        cells = key.uniform(stream, (x.shape[1], COARSE, COARSE), step, x.dtype)
        cells = cells if (self.low, self.high) == (0, 1) else cells.mul_(self.high - self.low).add_(self.low)
        return torch.nn.functional.interpolate(cells, size=x.shape[2:], mode="nearest")


@dataclass(frozen=True)
class PointClouds(Inputs):
    """Point clouds (B, N, D); a site is a point, a window is its nearest neighbours.

    Args:
        low, high: the range of the coordinates, one number or one for each of the D.

    Clouds of different numbers of points share a tensor; a mask says which points are present in each row.

    Raises:
        ConfigError: low is not below high in every coordinate.
    """

    low: Bounds = -1.0
    high: Bounds = 1.0

    axes: ClassVar[int | None] = 3
    channel_axis: ClassVar[int | None] = 2
    plural: ClassVar[str] = "point clouds"

    def __post_init__(self) -> None:
        self._check_range()

    @property
    def scale(self) -> float:
        """The width of the widest coordinate with a finite range; 1 where there is none."""
        lows, highs = (torch.as_tensor(b, dtype=torch.float64) for b in (self.low, self.high))
        width = (highs - lows).reshape(-1)
        return float(width[width.isfinite()].amax()) if bool(width.isfinite().any()) else 1.0

    def window(self, x: FloatBatch, centre: IntPerRow, share: float, present: BoolSites | None = None) -> BoolSites:
        """Return the nearest points to the centre, itself included: at least one, `share` of those that are present."""
        middle = x[torch.arange(len(x), device=x.device), centre][:, None]
        far = (x - middle).square().sum(2)
        if present is not None:
            far = far.masked_fill(~present, torch.inf)
        there = far.isfinite()
        count = (share * there.sum(1)).round().clamp_min(1)
        rank = far.argsort(dim=1, stable=True).argsort(dim=1)
        return (rank < count[:, None]) & there


class Components(Inputs):
    """Real numbers (B, ...) of any shape, of which each component is a site."""

    def window(self, x: FloatBatch, centre: IntPerRow, share: float, present: BoolSites | None = None) -> BoolSites:
        """Return a run of consecutive components that begins at the centre and wraps around at the end."""
        n = x[0].numel()
        place = torch.arange(n, device=x.device)
        inside = (place - centre[:, None]) % n < max(round(share * n), 1)
        return inside if present is None else inside & present


@dataclass(frozen=True)
class Bounded(Components):
    """Real numbers (B, ...) of any shape within a range: an angle and a shift, a curve. Each component is a site.

    Args:
        low, high: the range, one number or one for each component of the last axis.

    Raises:
        ConfigError: a bound is infinite, or low is not below high.
    """

    low: Bounds = -1.0
    high: Bounds = 1.0

    def __post_init__(self) -> None:
        self._check_range()
        if not all(math.isfinite(end) for bound in (self.low, self.high) for end in _ends(bound)):
            raise ConfigError(f"Bounded low={self.low}, high={self.high}; pass finite numbers, or use Unbounded()")

    @property
    def scale(self) -> float:
        """The width of the widest component."""
        return max(high - low for low, high in zip(*_paired(self.low, self.high), strict=True))


@dataclass(frozen=True)
class Unbounded(Components):
    """Real numbers (B, ...) of any shape without a range: a flow, a curve, a code. Each component is a site.

    Args:
        scale: the size of a large value, which step sizes are relative to.

    Raises:
        ConfigError: scale is not finite and above 0.
    """

    scale: float = 1.0

    @property
    def low(self) -> float:
        """The lowest value of every component, minus infinity."""
        return -math.inf

    @property
    def high(self) -> float:
        """The highest value of every component, infinity."""
        return math.inf

    def __post_init__(self) -> None:
        if not (self.scale > 0 and math.isfinite(self.scale)):
            raise ConfigError(f"Unbounded scale={self.scale}; pass a finite number above 0")


def range_cure(low: float, high: float, *, whole: bool) -> str:
    """Say what to do about pixels that reach from `low` to `high`, outside [0, 1]; `whole`: all are whole numbers.

    What is below 0, or not much above 1 and not whole, was normalised; what is larger counts in steps of 8 bits or so.
    """
    if low < 0 or (high <= LARGEST_NORMALISED and not whole):
        return "they look normalised; undo the normalisation: the target owns mean and std"
    if high <= 255:
        return "divide by 255"
    return "divide by the value that is white, as 4095 or 65535"


def _ends(bound: Bounds) -> tuple[float, ...]:
    """Return the bound of each component, one where it is that of all."""
    return bound if isinstance(bound, tuple) else (bound,)


def _paired(low: Bounds, high: Bounds) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return low and high of each component, as many of one as of the other."""
    lows, highs = _ends(low), _ends(high)
    return (lows * len(highs), highs) if len(lows) == 1 else (lows, highs * len(lows) if len(highs) == 1 else highs)


def _told(bound: Bounds) -> str:
    return f"({', '.join(f'{one:g}' for one in bound)})" if isinstance(bound, tuple) else f"{bound:g}"
